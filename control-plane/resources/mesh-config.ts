import * as z from 'zod'
import { checkExportTo, exportTo } from './export-to.ts'
import { duration } from './fields.ts'
import { checkHttpRetry, httpRetry } from './http-retry.ts'
import { type Kind, type UnsupportedField, unsupported } from './kind.ts'
import { checkLocalityLb, localityLbSetting } from './locality-lb.ts'

const trustDomainName = z.string().regex(/^[a-z0-9._-]{1,255}$/, 'is not a trust domain')

const schema = z.strictObject({
  outboundTrafficPolicy: z
    .strictObject({
      mode: z
        .enum(['ALLOW_ANY', 'REGISTRY_ONLY'])
        .optional()
        .describe('ALLOW_ANY: dialled as they are, without timeout and retries. REGISTRY_ONLY: answered 502.'),
    })
    .optional()
    .describe('What becomes of calls to hosts that nobody knows. Absent: the option of the control plane, ALLOW_ANY.'),
  defaultHttpRetryPolicy: httpRetry
    .optional()
    .describe('Retries of routes for which neither a route nor a ServicePolicy says anything.'),
  connectTimeout: duration(1).optional().describe('Of clusters without connectionPool.tcp.connectTimeout.'),
  trustDomain: trustDomainName.optional().describe('Must be the one that the control plane was started with.'),
  trustDomainAliases: z
    .array(trustDomainName)
    .default([])
    .describe('Other names of the trust domain: identities of theirs count as local ones in policies.'),
  rootNamespace: z.string().optional().describe('Must be the one that the control plane was started with.'),
  pathNormalization: z
    .strictObject({
      normalization: z
        .enum(['DEFAULT', 'NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'])
        .default('DEFAULT'),
    })
    .optional()
    .describe('How servers make paths comparable before policies look at them. Default BASE.'),
  enableAutoMtls: z
    .boolean()
    .optional()
    .describe(
      'false = plaintext wherever no DestinationRule has `tls`. Default true: mutual TLS to all that speak it.',
    ),
  localityLbSetting: localityLbSetting.optional().describe('Where a DestinationRule has none.'),
  dnsRefreshRate: duration(1).optional().describe('How often names of DNS services are resolved again.'),
  h2UpgradePolicy: z
    .enum(['DO_NOT_UPGRADE', 'UPGRADE'])
    .optional()
    .describe('UPGRADE = HTTP/2 to all services whose DestinationRule says nothing about it.'),
  defaultServiceExportTo: exportTo.describe('exportTo of ServiceEntries that have none.'),
  defaultVirtualServiceExportTo: exportTo.describe('exportTo of VirtualServices that have none.'),
  defaultDestinationRuleExportTo: exportTo.describe('exportTo of DestinationRules that have none.'),
})

export type MeshConfigSpec = z.output<typeof schema>

const noProxy = 'has no effect: there is no proxy process, the mesh is inside the application'
const noIngress = 'has no effect: inmesh is no ingress'
const telemetryOfProcess = 'has no effect: telemetry is set up in each process'
const ownAuthority = 'has no effect: certificates come from the control plane itself'

/** Fields of Istio that mean nothing without a proxy, each with the answer that its writer gets. */
export const inProcessMeaningless: readonly UnsupportedField[] = [
  ...unsupported(
    'warning',
    '',
    'proxyListenPort proxyInboundListenPort proxyHttpPort protocolDetectionTimeout',
    noProxy,
  ),
  ...unsupported(
    'warning',
    '',
    'disableEnvoyListenerLog inboundTrafficPolicy thriftConfig serviceScopeConfigs',
    noProxy,
  ),
  ...unsupported(
    'warning',
    '',
    'defaultConfig',
    'has no effect: there is no proxy to configure, see the options of createMesh()',
  ),
  ...unsupported('warning', '', 'ingressService ingressClass ingressControllerMode ingressSelector', noIngress),
  ...unsupported(
    'warning',
    '',
    'accessLogFile accessLogFormat accessLogEncoding enableEnvoyAccessLogService enableTracing enablePrometheusMerge',
    telemetryOfProcess,
  ),
  ...unsupported('warning', '', 'extensionProviders defaultProviders', 'is not supported yet and has no effect'),
  ...unsupported('warning', '', 'inboundClusterStatName outboundClusterStatName', telemetryOfProcess),
  ...unsupported('warning', '', 'ca caCertificates certificates', ownAuthority),
  ...unsupported(
    'warning',
    '',
    'meshMTLS tlsDefaults',
    'has no effect: between workloads TLS is 1.3 with the defaults of Node',
  ),
  ...unsupported(
    'warning',
    '',
    'verifyCertificateAtClient',
    'has no effect: certificates of services outside the mesh are always verified',
  ),
  ...unsupported(
    'warning',
    '',
    'discoverySelectors configSources serviceSettings',
    'has no effect: workloads register themselves',
  ),
  ...unsupported('warning', '', 'tcpKeepalive', 'has no effect: sockets have the keep-alive of Node'),
]

export const meshConfig: Kind<'MeshConfig', typeof schema> = {
  kind: 'MeshConfig',
  names: ['meshconfig', 'meshconfigs', 'mc'],
  apiVersions: ['mesh.istio.io/v1alpha1'],
  scope: 'mesh',
  schema,
  unsupported: inProcessMeaningless,
  check(spec, report, { rootNamespace, trustDomain }) {
    if (spec.trustDomain !== undefined && spec.trustDomain !== trustDomain)
      report(
        'error',
        ['trustDomain'],
        `cannot change while the control plane runs: it was started with "${trustDomain}" (--trust-domain)`,
      )
    if (spec.rootNamespace !== undefined && spec.rootNamespace !== rootNamespace)
      report(
        'error',
        ['rootNamespace'],
        `cannot change while the control plane runs: it was started with "${rootNamespace}" (--root-namespace)`,
      )
    spec.trustDomainAliases.forEach((alias, index) => {
      if (alias === trustDomain || spec.trustDomainAliases.indexOf(alias) < index)
        report('warning', ['trustDomainAliases', index], `"${alias}" is there already`)
    })
    if (spec.defaultHttpRetryPolicy !== undefined)
      checkHttpRetry(spec.defaultHttpRetryPolicy, 0, ['defaultHttpRetryPolicy'], report)
    if (spec.localityLbSetting !== undefined) checkLocalityLb(spec.localityLbSetting, ['localityLbSetting'], report)
    for (const field of [
      'defaultServiceExportTo',
      'defaultVirtualServiceExportTo',
      'defaultDestinationRuleExportTo',
    ] as const)
      checkExportTo(spec[field], rootNamespace, report, [field])
  },
  docs: 'What holds for the whole mesh where nothing more specific speaks: hosts that nobody knows, default retries and connect timeout, trust domain aliases, path normalization, locality settings. One object, named default, in the root namespace.',
  columns: [
    { title: 'OUTBOUND', value: (spec) => spec.outboundTrafficPolicy?.mode ?? '-' },
    { title: 'ALIASES', value: (spec) => spec.trustDomainAliases.join(',') || '-' },
  ],
}
