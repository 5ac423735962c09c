import type { DestinationRuleSpec } from '../resources/destination-rule.ts'
import type { PolicyBlocks, TrafficPolicy } from '../resources/traffic-policy.ts'
import { serviceHost } from './hosts.ts'
import type { MeshIndex } from './mesh-index.ts'
import type { Rule } from './rule.ts'
import type { ClientView } from './types.ts'

/** What of a client chooses its DestinationRules. */
export type RuleViewer = Pick<ClientView, 'namespace' | 'labels'>

/** The DestinationRules that count for one host and one client, as one. */
export interface MergedRule {
  /** Names of the objects, for explain. */
  readonly names: readonly string[]
  readonly trafficPolicy: TrafficPolicy | undefined
  /** Which object has it; '' = none. */
  readonly policyName: string
  readonly subsets: ReadonlyMap<string, MergedSubset>
}

export interface MergedSubset {
  readonly labels: Readonly<Record<string, string>>
  readonly trafficPolicy?: TrafficPolicy | undefined
  /** Which object defines it. */
  readonly rule: string
}

/** The blocks that count for a cluster, and which object said each. */
export interface EffectivePolicy {
  readonly blocks: PolicyBlocks
  readonly decidedBy: Readonly<Record<string, string>>
}

/**
 * The rules of a host for one client, oldest first: of the client's namespace, else of the service's, else of the root
 * namespace. The first namespace that has any for the client is the only one that counts, and of its rules those with
 * the most specific host. Rules with a workloadSelector are for callers of their own namespace and come before those
 * without; rules merge only with rules of the same selector.
 */
export function rulesFor(index: MeshIndex, host: string, client: RuleViewer): readonly Rule<DestinationRuleSpec>[] {
  const { rootNamespace } = index.settings
  const home = namespaceOf(index, host)
  const inRoot = client.namespace === rootNamespace
  const places: readonly [namespace: string, only: 'any' | 'private'][] = [
    [client.namespace, inRoot ? 'private' : 'any'],
    [home, 'any'],
    [rootNamespace, 'any'],
  ]
  for (const [namespace, only] of places) {
    if (namespace === '') continue
    const all = index.destinationRulesIn(namespace, host, client.namespace, only)
    const chosen = namespace === client.namespace ? selected(all, client) : all.filter(isForAll)
    if (chosen.length > 0) return chosen
  }
  return []
}

/** What of a client decides about the rules of a host: equal texts = equal rules, all else being equal. */
export function ruleViewKey(index: MeshIndex, host: string, client: RuleViewer): string {
  return rulesFor(index, host, client)
    .map((rule) => rule.name)
    .join()
}

function selected(rules: readonly Rule<DestinationRuleSpec>[], { labels }: RuleViewer) {
  const first = rules.find(
    ({ spec }) =>
      spec.workloadSelector !== undefined &&
      Object.entries(spec.workloadSelector.matchLabels).every(([key, value]) => labels[key] === value),
  )
  if (first === undefined) return rules.filter(isForAll)
  const key = selectorKey(first)
  return rules.filter((rule) => selectorKey(rule) === key)
}

function isForAll({ spec }: Rule<DestinationRuleSpec>): boolean {
  return spec.workloadSelector === undefined
}

function selectorKey({ spec }: Rule<DestinationRuleSpec>): string {
  return JSON.stringify(Object.entries(spec.workloadSelector?.matchLabels ?? {}).sort())
}

/** Merges as Istio does: subsets add up, the first of a name counts; of trafficPolicy the oldest is taken whole. */
export function mergedRule(index: MeshIndex, host: string, client: RuleViewer): MergedRule | undefined {
  const rules = rulesFor(index, host, client)
  if (rules.length === 0) return undefined
  const subsets = new Map<string, MergedSubset>()
  for (const { spec, name } of rules)
    for (const subset of spec.subsets)
      if (!subsets.has(subset.name)) subsets.set(subset.name, { ...subset, rule: name })
  const withPolicy = rules.find((rule) => rule.spec.trafficPolicy !== undefined)
  return {
    names: rules.map((rule) => rule.name),
    trafficPolicy: withPolicy?.spec.trafficPolicy,
    policyName: withPolicy?.name ?? '',
    subsets,
  }
}

/**
 * The policy of a cluster. A port-level entry replaces the whole policy for its port (what it leaves out falls to the
 * defaults, not to the rule); the subset's blocks then replace those of the rule one by one, or all of them if the
 * subset has an entry for the port. Blocks are never merged inside.
 */
export function effectivePolicy(rule: MergedRule | undefined, subset: string, port: number): EffectivePolicy {
  const base = forPort(rule?.trafficPolicy, port)
  const decided = saidBy(base.blocks, rule?.policyName ?? '')
  const own = rule?.subsets.get(subset)
  if (own?.trafficPolicy === undefined) return { blocks: base.blocks, decidedBy: decided }
  const overlay = forPort(own.trafficPolicy, port)
  const decidedThere = saidBy(overlay.blocks, own.rule)
  if (overlay.portLevel) return { blocks: overlay.blocks, decidedBy: decidedThere }
  const set = Object.entries(overlay.blocks).filter(([, block]) => block !== undefined)
  return {
    blocks: { ...base.blocks, ...Object.fromEntries(set) },
    decidedBy: { ...decided, ...decidedThere },
  }
}

/** Labels of a subset; without a rule that defines it, the version of its name. '' = all endpoints. */
export function subsetLabels(rule: MergedRule | undefined, subset: string): Readonly<Record<string, string>> {
  if (subset === '') return {}
  return rule?.subsets.get(subset)?.labels ?? { version: subset }
}

function forPort(policy: TrafficPolicy | undefined, port: number): { blocks: PolicyBlocks; portLevel: boolean } {
  const setting = policy?.portLevelSettings.find((s) => s.port.number === port)
  const { loadBalancer, connectionPool, outlierDetection, tls, retryBudget } = setting ?? policy ?? {}
  return {
    blocks: { loadBalancer, connectionPool, outlierDetection, tls, retryBudget },
    portLevel: setting !== undefined,
  }
}

function saidBy(blocks: PolicyBlocks, name: string): Record<string, string> {
  const said = Object.entries(blocks).filter(([, block]) => block !== undefined)
  return Object.fromEntries(said.map(([block]) => [block, name]))
}

/** Of a service's fully qualified name, registered or not; '' for other hosts. */
function namespaceOf(index: MeshIndex, host: string): string {
  const known = index.services.get(host)?.namespace
  if (known !== undefined) return known
  const [service = '', namespace = ''] = host.split('.')
  return serviceHost(service, namespace, index.settings.domain) === host ? namespace : ''
}
