import type { HttpRetrySpec } from '../resources/http-retry.ts'
import type { LocalityLbSetting } from '../resources/locality-lb.ts'
import type { MeshConfigSpec } from '../resources/mesh-config.ts'
import type { StoredObject } from '../store/store.ts'
import { rulesOf } from './rule.ts'
import type { MeshSettings } from './types.ts'

/** What holds for the whole mesh: what the control plane was started with, and over it what MeshConfig says. */
export interface EffectiveSettings extends MeshSettings {
  /** "MeshConfig/istio-system/default" for decided_by; undefined = there is none. */
  readonly meshConfig: string | undefined
  /** The own one first, then its aliases. */
  readonly trustDomains: readonly string[]
  /** exportTo of objects that have none. */
  readonly defaultExportTo: Readonly<Record<'virtualService' | 'destinationRule' | 'service', readonly string[]>>
  readonly pathNormalization: 'NONE' | 'BASE' | 'MERGE_SLASHES' | 'DECODE_AND_MERGE_SLASHES'
  /** Clusters whose rules do not mention TLS get mutual TLS to endpoints that speak it. */
  readonly autoMtls: boolean
  /** ms; undefined = MeshConfig does not say. */
  readonly connectTimeoutMs: number | undefined
  readonly retry: HttpRetrySpec | undefined
  readonly localityLb: LocalityLbSetting | undefined
  readonly dnsRefreshMs: number | undefined
  /** HTTP/2 to services whose rules say nothing about it. */
  readonly h2Upgrade: boolean
}

const everyone = ['*'] as const

/** Options and flags are defaults; the MeshConfig in the root namespace wins where it speaks. */
export function effectiveSettings(settings: MeshSettings, objects: readonly StoredObject[]): EffectiveSettings {
  const rule = rulesOf(objects, 'MeshConfig').find(({ object }) => object.namespace === settings.rootNamespace)
  const spec: Partial<MeshConfigSpec> = rule?.spec ?? {}
  const normalization = spec.pathNormalization?.normalization ?? 'DEFAULT'
  return {
    ...settings,
    meshConfig: rule?.name,
    outboundTrafficPolicy: spec.outboundTrafficPolicy?.mode ?? settings.outboundTrafficPolicy,
    trustDomains: [...new Set([settings.trustDomain, ...(spec.trustDomainAliases ?? [])])],
    defaultExportTo: {
      virtualService: nonEmpty(spec.defaultVirtualServiceExportTo),
      destinationRule: nonEmpty(spec.defaultDestinationRuleExportTo),
      service: nonEmpty(spec.defaultServiceExportTo),
    },
    pathNormalization: normalization === 'DEFAULT' ? 'BASE' : normalization,
    autoMtls: spec.enableAutoMtls ?? true,
    connectTimeoutMs: spec.connectTimeout,
    retry: spec.defaultHttpRetryPolicy,
    localityLb: spec.localityLbSetting,
    dnsRefreshMs: spec.dnsRefreshRate,
    h2Upgrade: spec.h2UpgradePolicy === 'UPGRADE',
  }
}

function nonEmpty(list: readonly string[] | undefined): readonly string[] {
  return list === undefined || list.length === 0 ? everyone : list
}
