import type { LocalityLbSetting } from '../resources/locality-lb.ts'
import type { PolicyBlocks } from '../resources/traffic-policy.ts'
import type { EffectiveSettings } from './effective-settings.ts'
import { effectivePolicy, mergedRule, ruleViewKey } from './merge.ts'
import type { MeshIndex } from './mesh-index.ts'
import { compareText } from './rule.ts'
import type { ClientView } from './types.ts'

/** An endpoint as far as its place counts. */
export interface Placed {
  /** "region/zone/subzone" */
  readonly locality: string
  readonly weight: number
  readonly labels: Readonly<Record<string, string>>
}

/** Endpoints of one locality and one priority. */
export interface LocalityGroup<T> {
  readonly locality: string
  readonly priority: number
  readonly weight: number
  readonly endpoints: readonly T[]
}

/** The locality setting that counts: the rule's whole, else the mesh's; undefined = switched off, or nobody set it. */
export function localitySetting(policy: PolicyBlocks, settings: EffectiveSettings): LocalityLbSetting | undefined {
  const setting = policy.loadBalancer?.localityLbSetting ?? settings.localityLb
  return setting?.enabled === false ? undefined : setting
}

/** Whether localities are switched off explicitly. */
function isOff(policy: PolicyBlocks, settings: EffectiveSettings): boolean {
  return (policy.loadBalancer?.localityLbSetting ?? settings.localityLb)?.enabled === false
}

/** The entry of `distribute` for a caller; undefined = none. */
export function distribution(setting: LocalityLbSetting | undefined, locality: string) {
  return setting?.distribute.find(({ from }) => localityMatches(from, locality))
}

/**
 * What of a client decides about a cluster and its endpoints: the rules that it sees, and its place where that counts.
 * Equal texts = equal resources, all else being equal; without localities all clients share the bytes.
 */
export function destinationViewKey(
  index: MeshIndex,
  host: string,
  subset: string,
  port: number,
  client: ClientView,
): string {
  const { blocks } = effectivePolicy(mergedRule(index, host, client), subset, port)
  return `${ruleViewKey(index, host, client)} ${placeKey(blocks, index.settings, client)}`
}

function placeKey(policy: PolicyBlocks, settings: EffectiveSettings, client: ClientView): string {
  const setting = localitySetting(policy, settings)
  if ((setting?.distribute.length ?? 0) > 0) return client.locality
  if (policy.outlierDetection === undefined || isOff(policy, settings)) return ''
  return JSON.stringify([
    client.locality,
    (setting?.failoverPriority ?? []).map((entry) => callersLabel(entry, client)),
  ])
}

/**
 * Groups endpoints by locality as one client shall see them (Istio): by `distribute` with fixed shares; else, where
 * outlier detection is on, by priorities that follow from how near they are; else all alike.
 */
export function groupByLocality<T extends Placed>(
  endpoints: readonly T[],
  policy: PolicyBlocks,
  settings: EffectiveSettings,
  client: ClientView,
): LocalityGroup<T>[] {
  const setting = localitySetting(policy, settings)
  if (setting !== undefined && setting.distribute.length > 0) {
    const groups = grouped(endpoints, () => 0)
    const chosen = distribution(setting, client.locality)
    return chosen === undefined ? groups : shares(groups, chosen.to)
  }
  if (policy.outlierDetection === undefined || isOff(policy, settings)) return grouped(endpoints, () => 0)
  return withoutGaps(grouped(endpoints, (endpoint) => rank(endpoint, setting, client)))
}

function grouped<T extends Placed>(endpoints: readonly T[], priorityOf: (endpoint: T) => number): LocalityGroup<T>[] {
  const byPlace = Map.groupBy(endpoints, (e) => `${String(priorityOf(e)).padStart(6, '0')} ${e.locality}`)
  return [...byPlace]
    .sort(([a], [b]) => compareText(a, b))
    .map(([key, list]) => ({
      locality: list[0]!.locality,
      priority: Number(key.slice(0, 6)),
      weight: list.reduce((sum, endpoint) => sum + endpoint.weight, 0),
      endpoints: list,
    }))
}

/** A share is a percentage; what several localities share of one is divided by their own weights. */
const SCALE = 1_000_000

/**
 * The share of each locality: the most specific pattern that fits it decides. Localities that no pattern names get
 * nothing, so they are left out.
 */
function shares<T>(groups: readonly LocalityGroup<T>[], to: Readonly<Record<string, number>>): LocalityGroup<T>[] {
  const patterns = Object.keys(to).sort((a, b) => specificity(b) - specificity(a) || compareText(a, b))
  const byPattern = Map.groupBy(groups, (group) => patterns.find((p) => localityMatches(p, group.locality)))
  return groups.flatMap((group) => {
    const pattern = patterns.find((p) => localityMatches(p, group.locality))
    if (pattern === undefined) return []
    const total = byPattern.get(pattern)!.reduce((sum, { weight }) => sum + weight, 0)
    return [{ ...group, weight: Math.max(1, Math.round((to[pattern]! * SCALE * group.weight) / total)) }]
  })
}

/** How far an endpoint is from the client: 0 = nearest. Labels come first, localities after them. */
function rank(endpoint: Placed, setting: LocalityLbSetting | undefined, client: ClientView): number {
  const { failover = [], failoverPriority = [] } = setting ?? {}
  const far = distance(client.locality, endpoint.locality, failover)
  if (failoverPriority.length === 0) return far
  const first = failoverPriority.findIndex((entry) => {
    const [key, value] = callersLabel(entry, client)
    return labelsOf(endpoint)[key] !== value
  })
  const byLabels = first < 0 ? 0 : failoverPriority.length - first
  // Without failover of its own, the order of labels alone decides.
  return failover.length === 0 ? byLabels : byLabels * 5 + far
}

/** The value that an endpoint must have: the caller's, unless the entry is "key=value". */
function callersLabel(entry: string, client: ClientView): [key: string, value: string | undefined] {
  const at = entry.indexOf('=')
  return at < 0 ? [entry, labelsOf(client)[entry]] : [entry.slice(0, at), entry.slice(at + 1)]
}

/** With the labels that Kubernetes and Istio have for the place. */
function labelsOf({ locality, labels }: Pick<Placed, 'locality' | 'labels'>): Readonly<Record<string, string>> {
  const [region, zone, subzone] = locality.split('/')
  return {
    ...(region ? { 'topology.kubernetes.io/region': region } : {}),
    ...(zone ? { 'topology.kubernetes.io/zone': zone } : {}),
    ...(subzone ? { 'topology.istio.io/subzone': subzone } : {}),
    ...labels,
  }
}

/** 0 = same subzone, 1 = same zone, 2 = same region, 3 = elsewhere; 4 = not the region that `failover` names. */
function distance(client: string, endpoint: string, failover: LocalityLbSetting['failover']): number {
  const [region = '', zone = '', subzone = ''] = client.split('/')
  const [itsRegion = '', itsZone = '', itsSubzone = ''] = endpoint.split('/')
  if (region === itsRegion) {
    if (zone !== itsZone) return 2
    return subzone === itsSubzone ? 0 : 1
  }
  const rule = failover.find(({ from }) => from === region)
  return rule !== undefined && rule.to !== itsRegion ? 4 : 3
}

/** Priorities as clients want them: 0, 1, 2 and so on. */
function withoutGaps<T>(groups: readonly LocalityGroup<T>[]): LocalityGroup<T>[] {
  const used = [...new Set(groups.map((group) => group.priority))].sort((a, b) => a - b)
  return groups.map((group) => ({ ...group, priority: used.indexOf(group.priority) }))
}

/** "us/east/*", "us/*", "us" and "*" each cover what begins like them. */
function localityMatches(pattern: string, locality: string): boolean {
  const parts = locality.split('/')
  for (const [i, part] of pattern.split('/').entries()) {
    if (part === '*') return true
    if (part !== (parts[i] ?? '')) return false
  }
  return true
}

function specificity(pattern: string): number {
  return pattern.split('/').filter((part) => part !== '*' && part !== '').length
}
