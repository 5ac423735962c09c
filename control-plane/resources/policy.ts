import { ConfigError } from '../../src/errors.ts'
import type { Store, StoredObject } from '../store/store.ts'
import { expandHost } from '../translate/hosts.ts'
import { documentOf } from './document.ts'
import { specOf } from './kinds.ts'
import { type ServicePolicySpec, servicePolicyDefaults } from './service-policy.ts'
import type { TrafficSplitSpec } from './traffic-split.ts'
import { validateBatch } from './validate.ts'

/** A row of the mission's ServicePolicy table. */
export interface ServicePolicyRow {
  service_name: string
  retry_attempts: number
  timeout_ms: number
  cb_threshold: number
  cb_window_sec: number
  updated_at: Date
}

/** Fields by either spelling: `retry_attempts` or `retryAttempts`. */
export type ServicePolicyFields = Partial<Omit<ServicePolicyRow, 'service_name' | 'updated_at'>> &
  Partial<Omit<ServicePolicySpec, 'service'>> & { cb_recovery_sec?: number }

export interface PolicyOptions {
  /** Default "default". */
  readonly namespace?: string
  /** For the audit trail. Default "api". */
  readonly actor?: string
}

/**
 * Upserts the ServicePolicy of a service; fields left out get the defaults (3 retries, 5000 ms, 50 %, 30 s), not what
 * was there before. The change reaches the data planes as soon as it is committed. Throws ConfigError on bad values.
 *
 *     await applyPolicy(store, 'payment-service', { retry_attempts: 2, timeout_ms: 800 })
 */
export async function applyPolicy(
  store: Store,
  serviceName: string,
  policy: ServicePolicyFields = {},
  options: PolicyOptions = {},
): Promise<ServicePolicyRow> {
  const namespace = options.namespace ?? 'default'
  const { objects: existing, ...rest } = await store.snapshot()
  const earlier = existing.find((o) => o.namespace === namespace && policyOf(o)?.service === serviceName.toLowerCase())
  const document = documentOf({
    apiVersion: 'inmesh.dev/v1',
    kind: 'ServicePolicy',
    metadata: { name: earlier?.name ?? serviceName, namespace },
    spec: { service: serviceName, ...defined(policy) },
  })
  const { objects, problems } = validateBatch([document], { objects: existing, ...rest })
  const input = objects[0]
  if (input === undefined) throw new ConfigError(problems.filter((p) => p.severity === 'error'))
  const spec = { ...servicePolicyDefaults, ...(input.spec as ServicePolicySpec) }
  await store.apply([{ put: { ...input, spec } }], { actor: options.actor ?? 'api' })
  const stored = await store.get(input)
  return {
    service_name: spec.service,
    retry_attempts: spec.retryAttempts ?? servicePolicyDefaults.retryAttempts,
    timeout_ms: spec.timeoutMs ?? servicePolicyDefaults.timeoutMs,
    cb_threshold: spec.cbThreshold ?? servicePolicyDefaults.cbThreshold,
    cb_window_sec: spec.cbWindowSec ?? servicePolicyDefaults.cbWindowSec,
    updated_at: new Date(stored?.updatedAt ?? Date.now()),
  }
}

export type RequestHeaders =
  | Headers
  | ReadonlyMap<string, string>
  | Readonly<Record<string, string | readonly string[] | undefined>>

export interface SplitOptions {
  /** Of names without a dot. Default "default". */
  readonly namespace?: string
  /** Domain of service names. Default "cluster.local". */
  readonly domain?: string
  /** Who calls: its own splits beat those for all callers. Absent: the newest split of the destination, whoever it is for. */
  readonly sourceService?: string
  /** Uniform in [0, 1). Default Math.random. */
  readonly random?: () => number
}

/**
 * Which version of a service a request goes to. No split: v1. A header that the split lists, with that very value: v2.
 * Weights 0 and 0: v1. Else by weight.
 */
export async function computeTrafficSplit(
  store: Store,
  destinationService: string,
  headers: RequestHeaders = {},
  options: SplitOptions = {},
): Promise<'v1' | 'v2'> {
  const { namespace = 'default', domain = 'cluster.local', sourceService } = options
  const expand = (service: string, from: string) => expandHost(service, from, domain)
  const { items } = await store.list({ kind: 'TrafficSplit' })
  const splits = items.flatMap((object) => {
    const spec = specOf(object, 'TrafficSplit')
    if (spec === undefined) return []
    const source = spec.sourceService === undefined ? undefined : expand(spec.sourceService, object.namespace)
    return [{ object, spec, source, destination: expand(spec.destinationService, object.namespace) }]
  })
  const split = chooseSplit(
    splits.filter((candidate) => candidate.destination === expand(destinationService, namespace)),
    sourceService === undefined ? undefined : expand(sourceService, namespace),
  )
  if (split === undefined) return 'v1'
  const sent = lowerCaseHeaders(headers)
  for (const [name, value] of Object.entries(split.headerMatch)) if (sent.get(name)?.includes(value)) return 'v2'
  const total = split.v1Weight + split.v2Weight
  return total > 0 && (options.random ?? Math.random)() * total < split.v2Weight ? 'v2' : 'v1'
}

function chooseSplit(
  splits: readonly { object: StoredObject; spec: TrafficSplitSpec; source: string | undefined }[],
  source: string | undefined,
): TrafficSplitSpec | undefined {
  const newestFirst = splits.toSorted(
    (a, b) => b.object.updatedAt - a.object.updatedAt || b.object.revision - a.object.revision,
  )
  if (source === undefined) return newestFirst[0]?.spec
  const own = newestFirst.find((split) => split.source === source)
  return (own ?? newestFirst.find((split) => split.source === undefined))?.spec
}

function lowerCaseHeaders(headers: RequestHeaders): Map<string, string[]> {
  const entries = headers instanceof Headers || headers instanceof Map ? headers.entries() : Object.entries(headers)
  const all = new Map<string, string[]>()
  for (const [name, value] of entries as Iterable<[string, string | readonly string[] | undefined]>)
    if (value !== undefined) all.set(name.toLowerCase(), [value].flat())
  return all
}

function policyOf(object: StoredObject): ServicePolicySpec | undefined {
  return object.kind === 'ServicePolicy' ? specOf(object, 'ServicePolicy') : undefined
}

function defined(fields: ServicePolicyFields): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))
}
