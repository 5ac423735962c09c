import * as z from 'zod'
import { checkExportTo, exportTo } from './export-to.ts'
import { host, labels, matchLabels } from './fields.ts'
import { type Kind, type UnsupportedField, unsupported } from './kind.ts'
import { checkTrafficPolicy, trafficPolicy } from './traffic-policy.ts'

const schema = z.strictObject({
  host: host.describe('Whose endpoints: a service, a host of a ServiceEntry, or "*.suffix".'),
  trafficPolicy: trafficPolicy.optional(),
  subsets: z
    .array(
      z.strictObject({
        name: z.string().regex(/^[A-Za-z0-9._-]{1,63}$/, 'is not a subset name'),
        labels: labels.default({}).describe('Endpoints that have all of them.'),
        trafficPolicy: trafficPolicy
          .optional()
          .describe('Its blocks replace those of the rule one by one, for calls that a route sends to this subset.'),
      }),
    )
    .default([])
    .describe('Named parts of the endpoints.'),
  exportTo,
  workloadSelector: z
    .strictObject({ matchLabels: matchLabels })
    .optional()
    .describe('Only for callers of this namespace with these labels; comes before rules without a selector.'),
})

export type DestinationRuleSpec = z.output<typeof schema>

const policyPaths = ['trafficPolicy', 'subsets[].trafficPolicy'].flatMap((path) => [
  path,
  `${path}.portLevelSettings[]`,
])

function unsupportedInPolicy(prefix: string): UnsupportedField[] {
  return [
    ...unsupported('error', prefix, 'tunnel proxyProtocol', 'is not supported: calls go to the endpoints themselves'),
    ...unsupported(
      'error',
      `${prefix}.tls`,
      'credentialName',
      'is not supported: callers read files, use clientCertificate, privateKey and caCertificates',
    ),
    ...unsupported('error', `${prefix}.tls`, 'caCrl', 'is not supported: leaving revocation out would weaken TLS'),
    ...unsupported('warning', `${prefix}.loadBalancer.consistentHash.httpCookie`, 'attributes'),
  ]
}

export const destinationRule: Kind<'DestinationRule', typeof schema> = {
  kind: 'DestinationRule',
  names: ['destinationrule', 'destinationrules', 'dr'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema,
  unsupported: policyPaths.flatMap(unsupportedInPolicy),
  check(spec, report, { namespace }) {
    const seen = new Set<string>()
    spec.subsets.forEach((subset, index) => {
      if (seen.has(subset.name))
        report('error', ['subsets', index, 'name'], `the subset "${subset.name}" is defined twice`)
      seen.add(subset.name)
      if (Object.keys(subset.labels).length === 0)
        report('warning', ['subsets', index], 'has no labels: it contains every endpoint')
      checkTrafficPolicy(subset.trafficPolicy, ['subsets', index, 'trafficPolicy'], report)
    })
    checkTrafficPolicy(spec.trafficPolicy, ['trafficPolicy'], report)
    checkExportTo(spec.exportTo, namespace, report)
    if (spec.workloadSelector !== undefined && spec.exportTo?.some((to) => to !== '.' && to !== namespace))
      report('warning', ['exportTo'], 'has no effect: a rule with a workloadSelector is for its own namespace')
  },
  docs: 'How calls reach the endpoints of a host once routed there: load balancing, connection limits, outlier ejection, TLS, and named subsets of the endpoints by label.',
  columns: [
    { title: 'HOST', value: (spec) => spec.host },
    { title: 'SUBSETS', value: (spec) => spec.subsets.map((subset) => subset.name).join(',') || '-' },
  ],
}
