import { type ClientTls, tlsMode } from '../resources/client-tls.ts'
import type { DestinationRuleSpec } from '../resources/destination-rule.ts'
import type { FieldPath } from '../resources/document.ts'

/** One place of a DestinationRule that says how its hosts are spoken to. */
export interface TlsBlock {
  readonly tls: ClientTls
  readonly mode: ReturnType<typeof tlsMode>
  readonly path: FieldPath
  /** Of the subset that it is for; {} = all endpoints. */
  readonly labels: Readonly<Record<string, string>>
  readonly isForPort: boolean
}

export function tlsBlocks(spec: DestinationRuleSpec): TlsBlock[] {
  const policies = [
    { policy: spec.trafficPolicy, path: ['trafficPolicy'] as FieldPath, labels: {} },
    ...spec.subsets.map(({ trafficPolicy, labels }, s) => ({
      ...{ policy: trafficPolicy, labels, path: ['subsets', s, 'trafficPolicy'] },
    })),
  ]
  return policies.flatMap(({ policy, path, labels }) =>
    [
      { tls: policy?.tls, path: [...path, 'tls'], isForPort: false },
      ...(policy?.portLevelSettings ?? []).map(({ tls }, p) => ({
        ...{ tls, path: [...path, 'portLevelSettings', p, 'tls'], isForPort: true },
      })),
    ].flatMap(({ tls, ...place }) => (tls === undefined ? [] : [{ tls, mode: tlsMode(tls), labels, ...place }])),
  )
}
