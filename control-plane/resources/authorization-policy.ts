import * as z from 'zod'
import { parseCidr } from './cidr.ts'
import { labels } from './fields.ts'
import { type Kind, type Report, unsupported } from './kind.ts'
import { isPathTemplate, pathTemplateProblem } from './patterns.ts'
import { suggest } from './suggest.ts'

const values = z.array(z.string().min(1, 'must not be empty')).optional()

const source = z.strictObject({
  principals: values,
  notPrincipals: values,
  namespaces: values,
  notNamespaces: values,
  serviceAccounts: values,
  notServiceAccounts: values,
  trustDomains: values,
  notTrustDomains: values,
  ipBlocks: values,
  notIpBlocks: values,
})

const operation = z.strictObject({
  hosts: values,
  notHosts: values,
  ports: values,
  notPorts: values,
  methods: values,
  notMethods: values,
  paths: values,
  notPaths: values,
})

const condition = z.strictObject({ key: z.string().min(1, 'must not be empty'), values, notValues: values })

const rule = z.strictObject({
  from: z.array(z.strictObject({ source })).optional(),
  to: z.array(z.strictObject({ operation })).optional(),
  when: z.array(condition).optional(),
})

const schema = z.strictObject({
  selector: z.strictObject({ matchLabels: labels.default({}) }).optional(),
  action: z.enum(['ALLOW', 'DENY'], 'is not supported yet: only ALLOW and DENY are').default('ALLOW'),
  /** Absent and [] = matches nothing; [{}] = matches everything. */
  rules: z.array(rule).default([]),
})

export type AuthorizationPolicySpec = z.output<typeof schema>
export type AuthorizationRule = AuthorizationPolicySpec['rules'][number]
export type AuthorizationSource = z.output<typeof source>
export type AuthorizationOperation = z.output<typeof operation>
export type AuthorizationCondition = z.output<typeof condition>

/** What a list of values is about; decides which values are valid and how they compare. */
export type Attribute =
  | 'principal'
  | 'namespace'
  | 'serviceAccount'
  | 'trustDomain'
  | 'ip'
  | 'host'
  | 'port'
  | 'method'
  | 'path'
  | 'header'

const attributeOfField: Readonly<Record<string, Attribute>> = {
  principals: 'principal',
  namespaces: 'namespace',
  serviceAccounts: 'serviceAccount',
  trustDomains: 'trustDomain',
  ipBlocks: 'ip',
  hosts: 'host',
  ports: 'port',
  methods: 'method',
  paths: 'path',
}

const conditionKeys = {
  'source.ip': 'ip',
  'source.namespace': 'namespace',
  'source.principal': 'principal',
  'source.serviceAccount': 'serviceAccount',
  'source.trustDomain': 'trustDomain',
  'destination.ip': 'ip',
  'destination.port': 'port',
} as const satisfies Record<string, Attribute>
export type ConditionKey = keyof typeof conditionKeys | 'request.headers'

const notYet =
  /^(?:remote\.ip|connection\.sni|request\.auth\.(?:principal|audiences|presenter|claims(?:\[[^[\]]+\])+))$/

/** Reads the key of a `when`; a string says why it cannot be used. */
export function parseConditionKey(key: string): { key: ConditionKey; header: string } | string {
  const header = /^request\.headers\[([!#$%&'*+.^_`|~0-9A-Za-z:-]+)\]$/.exec(key)?.[1]
  if (header !== undefined) return { key: 'request.headers', header: header.toLowerCase() }
  if (Object.hasOwn(conditionKeys, key)) return { key: key as keyof typeof conditionKeys, header: '' }
  return notYet.test(key) ? 'is not supported yet' : 'is not a known key'
}

/** The field without its `not`, and what it is about. */
export function describeField(field: string): { attribute: Attribute; negative: boolean } {
  const negative = /^not[A-Z]/.test(field)
  const positive = negative ? field[3]!.toLowerCase() + field.slice(4) : field
  return { attribute: attributeOfField[positive]!, negative }
}

export function attributeOfCondition(key: ConditionKey): Attribute {
  return key === 'request.headers' ? 'header' : conditionKeys[key]
}

export const authorizationPolicy: Kind<'AuthorizationPolicy', typeof schema> = {
  kind: 'AuthorizationPolicy',
  names: ['authorizationpolicy', 'authorizationpolicies', 'authz'],
  apiVersions: ['security.istio.io/v1', 'security.istio.io/v1beta1'],
  schema,
  unsupported: [
    ...unsupported('error', '', 'provider targetRef targetRefs'),
    ...unsupported(
      'error',
      'rules[].from[].source',
      'requestPrincipals notRequestPrincipals remoteIpBlocks notRemoteIpBlocks',
    ),
  ],
  check(spec, report, { annotations }) {
    checkDryRun(annotations['istio.io/dry-run'], report)
    if (spec.action === 'DENY' && spec.rules.length === 0)
      report('error', ['rules'], 'a DENY policy without rules would never match; [{}] denies everything')
    spec.rules.forEach((r, index) => {
      checkRule(r, ['rules', index], spec.action, report)
    })
  },
  docs: 'Who may call the selected workloads, decided at the server by verified identity, address, method, path, host, port and headers. DENY goes first; as soon as one ALLOW policy selects a workload, what no ALLOW rule matches is denied.',
  columns: [
    { title: 'ACTION', value: (spec) => spec.action },
    { title: 'SELECTOR', value: (spec) => describeSelector(spec.selector?.matchLabels) },
    { title: 'RULES', value: (spec) => String(spec.rules.length) },
  ],
}

export function describeSelector(matchLabels: Readonly<Record<string, string>> = {}): string {
  return (
    Object.entries(matchLabels)
      .map(([key, value]) => `${key}=${value}`)
      .join(',') || '-'
  )
}

function checkDryRun(annotation: string | undefined, report: Report): void {
  if (annotation === undefined || annotation === 'false') return
  const message =
    annotation === 'true' ? 'is not supported yet: the policy would be enforced' : 'must be "true" or "false"'
  report('error', [], `the annotation istio.io/dry-run ${message}`)
}

type Path = (string | number)[]

function checkRule(r: AuthorizationRule, path: Path, action: 'ALLOW' | 'DENY', report: Report): void {
  r.from?.forEach(({ source: fields }, i) => {
    const at = [...path, 'from', i, 'source']
    checkFields(fields, at, report)
    const { serviceAccounts, notServiceAccounts, principals, notPrincipals, namespaces, notNamespaces } = fields
    if ((serviceAccounts ?? notServiceAccounts) && (principals ?? notPrincipals ?? namespaces ?? notNamespaces))
      report('error', at, 'serviceAccounts cannot be combined with principals or namespaces')
    const onlyNegative = Object.entries(fields).every(([field, list]) => list === undefined || field.startsWith('not'))
    if (action === 'ALLOW' && onlyNegative)
      report('warning', at, 'has only negative fields: callers without any identity match too')
  })
  r.to?.forEach(({ operation: fields }, i) => {
    checkFields(fields, [...path, 'to', i, 'operation'], report)
  })
  for (const field of ['from', 'to'] as const)
    if (r[field]?.length === 0) report('error', [...path, field], 'must not be empty: leave it out to match everything')
  r.when?.forEach((c, i) => {
    checkCondition(c, [...path, 'when', i], report)
  })
}

function checkFields(fields: Record<string, string[] | undefined>, path: Path, report: Report): void {
  const set = Object.entries(fields).filter(([, list]) => list !== undefined)
  if (set.length === 0) report('error', path, 'must have at least one field: leave it out to match everything')
  for (const [field, list] of set) {
    if (list!.length === 0) report('error', [...path, field], 'must not be empty: leave it out to match everything')
    checkValues(list!, describeField(field).attribute, [...path, field], report)
  }
}

function checkCondition(c: AuthorizationCondition, path: Path, report: Report): void {
  const parsed = parseConditionKey(c.key)
  if (typeof parsed === 'string') {
    report('error', [...path, 'key'], `"${c.key}" ${parsed}`, suggest(c.key, Object.keys(conditionKeys)))
    return
  }
  if ((c.values ?? []).length + (c.notValues ?? []).length === 0)
    report('error', path, 'needs values or notValues, or nothing would be compared')
  for (const field of ['values', 'notValues'] as const)
    checkValues(c[field] ?? [], attributeOfCondition(parsed.key), [...path, field], report)
}

function checkValues(list: readonly string[], attribute: Attribute, path: Path, report: Report): void {
  list.forEach((value, index) => {
    const message = valueProblem(value, attribute)
    if (message !== undefined) report('error', [...path, index], `"${value}" ${message}`)
    const trap = valueTrap(value, attribute)
    if (trap !== undefined) report('warning', [...path, index], `"${value}" ${trap}`)
  })
  if (attribute === 'serviceAccount' && list.length > 16) report('error', path, 'may have at most 16 service accounts')
}

function valueProblem(value: string, attribute: Attribute): string | undefined {
  switch (attribute) {
    case 'ip':
      return parseCidr(value) === undefined ? 'is neither an IP address nor a CIDR block' : undefined
    case 'port':
      return /^[1-9]\d{0,4}$/.test(value) && Number(value) <= 65_535 ? undefined : 'is not a port number (1 to 65535)'
    case 'path':
      return isPathTemplate(value) ? pathTemplateProblem(value) : undefined
    case 'trustDomain':
      if (value.length > 255) return 'is too long'
      return value.includes('/') ? 'is not a trust domain: it has a slash' : undefined
    case 'serviceAccount':
      return /^[^/*]+(?:\/[^/*]+)?$/.test(value) && value.length <= 320
        ? undefined
        : 'is neither "<service account>" nor "<namespace>/<service account>"'
    case 'namespace':
      if (value.length > 255) return 'is too long'
      return value.includes('/') ? 'is not a namespace: it has a slash' : undefined
    default:
      return undefined
  }
}

function valueTrap(value: string, attribute: Attribute): string | undefined {
  if (attribute === 'principal' && value.startsWith('spiffe://'))
    return 'never matches: principals are written without spiffe://'
  const wild = attribute === 'principal' || attribute === 'host' || attribute === 'method' || attribute === 'header'
  if (wild && value.replace(/^\*|\*$/, '').includes('*'))
    return 'has a star that stands for itself: only one at an end is a wildcard'
  if (attribute === 'path' && !/^[/*]/.test(value)) return 'never matches: paths begin with "/"'
  return undefined
}
