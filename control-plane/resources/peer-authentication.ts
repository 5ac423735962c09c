import * as z from 'zod'
import { describeSelector } from './authorization-policy.ts'
import { labels } from './fields.ts'
import type { Kind } from './kind.ts'

const mutualTls = z.strictObject({ mode: z.enum(['UNSET', 'DISABLE', 'PERMISSIVE', 'STRICT']).default('UNSET') })

const schema = z.strictObject({
  selector: z.strictObject({ matchLabels: labels.default({}) }).optional(),
  mtls: mutualTls.default({ mode: 'UNSET' }),
  /** By port of the workload, not of the service. */
  portLevelMtls: z
    .record(z.string().regex(/^[1-9]\d{0,4}$/, 'is not a port number (1 to 65535)'), mutualTls)
    .default({}),
})

export type PeerAuthenticationSpec = z.output<typeof schema>

export const peerAuthentication: Kind<'PeerAuthentication', typeof schema> = {
  kind: 'PeerAuthentication',
  names: ['peerauthentication', 'peerauthentications', 'pa'],
  apiVersions: ['security.istio.io/v1', 'security.istio.io/v1beta1'],
  schema,
  unsupported: [],
  check(spec, report, { namespace, rootNamespace }) {
    const selects = Object.keys(spec.selector?.matchLabels ?? {}).length > 0
    if (Object.keys(spec.portLevelMtls).length > 0 && !selects)
      report('error', ['portLevelMtls'], 'needs a selector: ports are those of workloads')
    for (const port of Object.keys(spec.portLevelMtls))
      if (Number(port) > 65_535) report('error', ['portLevelMtls', port], 'is not a port number (1 to 65535)')
    if (selects && namespace === rootNamespace)
      report(
        'warning',
        ['selector'],
        `policies with a selector have no effect in the root namespace ${rootNamespace}`,
        undefined,
        'IST0166',
      )
  },
  docs: 'Whether servers take mutual TLS only (STRICT), plaintext too (PERMISSIVE, the default) or plaintext only (DISABLE): per port, workload, namespace or mesh, the narrowest decides.',
  columns: [
    { title: 'MODE', value: (spec) => spec.mtls.mode },
    { title: 'SELECTOR', value: (spec) => describeSelector(spec.selector?.matchLabels) },
  ],
}
