import * as z from 'zod'
import type { StringMatch } from '../../src/model/match.ts'
import { serviceHost } from '../translate/hosts.ts'
import { parseDuration } from './duration.ts'
import { headerName, namespaceName, objectName, port, regexProblem } from './fields.ts'
import type { Report } from './kind.ts'

/** What HTTPRoute and GRPCRoute of the Gateway API have in common. Each part parses what is written, no more. */

export type Path = readonly (string | number)[]

/** GEP-2257: at most four numbers of at most five digits with h, m, s or ms. Milliseconds once parsed. */
export const gatewayDuration = z
  .string()
  .regex(/^([0-9]{1,5}(h|m|s|ms)){1,4}$/, 'is not a duration (like "250ms", "5s", "1h30m")')
  .transform((text) => parseDuration(text)!)

const GATEWAY_GROUP = 'gateway.networking.k8s.io'

const parentRef = z.strictObject({
  group: z.string().default(GATEWAY_GROUP).describe('"" for a Service.'),
  kind: z.string().default('Gateway').describe('Only Service has an effect on calls inside the mesh.'),
  namespace: namespaceName.optional().describe('Default: the namespace of the route.'),
  name: objectName,
  sectionName: z.string().optional(),
  port: port.optional().describe('As dialled; absent = every port.'),
})
export type ParentRef = z.output<typeof parentRef>

export const parentRefs = z
  .array(parentRef)
  .max(32)
  .default([])
  .describe('The Services whose calls these rules decide, instead of everything else that would.')

/** Fields of whatever names a Service to send calls to. */
export const backendFields = {
  group: z.string().default(''),
  kind: z.string().default('Service'),
  namespace: namespaceName.optional().describe('Default: the namespace of the route; no grant is needed in a mesh.'),
  name: z.string().min(1).max(253),
  port: port.optional().describe('Port of the Service. Required for a Service.'),
} as const
const backendTarget = z.strictObject(backendFields)
export type BackendTarget = z.output<typeof backendTarget>

export const weight = z.int().min(0).max(1_000_000).default(1).describe('Share among the backends of the rule.')

const headerValue = z.strictObject({ name: headerName, value: z.string().min(1).max(4096) })
export const headerModifier = z.strictObject({
  set: z.array(headerValue).max(16).default([]).describe('Replaces the header, or adds it.'),
  add: z.array(headerValue).max(16).default([]).describe('Adds one more value.'),
  remove: z.array(headerName).max(16).default([]).describe('Takes the header out.'),
})
export type HeaderModifier = z.output<typeof headerModifier>

export const requestMirror = z.strictObject({
  backendRef: backendTarget,
  percent: z.int().min(0).max(100).optional().describe('Share of the calls. Absent, and no fraction: all.'),
  fraction: z
    .strictObject({ numerator: z.int().min(0), denominator: z.int().min(1).default(100) })
    .refine(({ numerator, denominator }) => numerator <= denominator, 'must not be more than 1')
    .optional(),
})

const matchFields = z.strictObject({
  type: z.enum(['Exact', 'RegularExpression']).default('Exact'),
  name: headerName,
  value: z.string().min(1).max(4096),
})

/** Refuses what RE2 does not read, where a type says that the value is a regular expression. */
export function checkRegex(context: z.core.ParsePayload<{ type: string; value: string }>): void {
  const { type, value } = context.value
  const message = type === 'RegularExpression' ? regexProblem(value) : undefined
  if (message !== undefined) context.issues.push({ code: 'custom', message, path: ['value'], input: value })
}

export const headerMatches = z
  .array(matchFields.check(checkRegex))
  .max(16)
  .default([])
  .describe('All must match; of several conditions on one header only the first counts.')
export const queryMatches = z
  .array(matchFields.extend({ name: z.string().min(1).max(256) }).check(checkRegex))
  .max(16)
  .default([])
  .describe('All must match; of several conditions on one parameter only the first counts.')

/** Conditions by name; the first of each name (Gateway API: the others must be ignored). */
export function conditionsByName(
  list: readonly { readonly type: string; readonly name: string; readonly value: string }[],
): Record<string, StringMatch> {
  const found = new Map<string, StringMatch>()
  for (const { type, name, value } of list)
    if (!found.has(name))
      found.set(name, type === 'Exact' ? { kind: 'exact', value, ignoreCase: false } : { kind: 'regex', value })
  return Object.fromEntries(found)
}

export function checkRepeated(list: readonly { readonly name: string }[], path: Path, report: Report): void {
  list.forEach(({ name }, index) => {
    if (list.findIndex((other) => other.name === name) < index)
      report('warning', [...path, index], `has no effect: there is a condition on "${name}" before it`)
  })
}

/** Whether it is a Service: the only parent whose routes are for calls inside the mesh. */
export function isServiceParent({ group, kind }: ParentRef): boolean {
  // "core" is another spelling, and nobody means a Service of the gateways' own group.
  return kind === 'Service' && (group === '' || group === 'core' || group === GATEWAY_GROUP)
}

/** Services that a route of namespace `home` is attached to; `port` undefined = every port. */
export function parentHosts(parents: readonly ParentRef[], home: string, domain: string) {
  return parents
    .filter(isServiceParent)
    .map(({ name, namespace = home, port }) => ({ host: serviceHost(name, namespace, domain), port }))
}

export function checkParents(parents: readonly ParentRef[], namespace: string, report: Report): void {
  if (!parents.some(isServiceParent))
    report('warning', ['parentRefs'], 'has no effect on calls inside the mesh: none of the parents is a Service')
  const seen = new Set<string>()
  parents.forEach((parent, index) => {
    const path = ['parentRefs', index]
    if (!isServiceParent(parent)) {
      report('warning', path, `is ignored: a ${parent.kind} has no calls inside the mesh, only a Service has`)
      return
    }
    if (parent.group === GATEWAY_GROUP)
      report('warning', path, 'says no group: other control planes want `group: ""` for a Service')
    if (parent.sectionName !== undefined)
      report('warning', [...path, 'sectionName'], 'has no effect: ports of a Service are named by number, in port')
    const key = `${parent.namespace ?? namespace}/${parent.name}:${parent.port ?? ''}`
    if (seen.has(key)) report('error', path, 'is listed twice')
    seen.add(key)
  })
}

export type BackendKind = 'service' | 'host' | 'unknown'

/** What a backend names: a Service, a host as it is (Istio's Hostname), or nothing that can be called. */
export function backendKind({ group, kind }: BackendTarget): BackendKind {
  if (kind === 'Service' && (group === '' || group === 'core')) return 'service'
  return kind === 'Hostname' && group === 'networking.istio.io' ? 'host' : 'unknown'
}

/** @param loss what becomes of calls to a backend that is none */
export function checkBackend(backend: BackendTarget, path: Path, loss: string, report: Report): void {
  const kind = backendKind(backend)
  if (kind === 'unknown')
    report('warning', [...path, 'kind'], `${backend.group}/${backend.kind} cannot be called: ${loss}`)
  else if (backend.port === undefined) report('error', [...path, 'port'], 'is required')
  if (kind === 'service' && !objectName.safeParse(backend.name).success)
    report('error', [...path, 'name'], `"${backend.name}" is not a name of a Service`)
}
