import type { PolicyBlocks, TrafficPolicy } from '../resources/destination-rule.ts'
import { serviceHost } from './hosts.ts'
import type { MeshIndex } from './mesh-index.ts'

/** The DestinationRules that count for one host and one client namespace, as one. */
export interface MergedRule {
  /** Names of the objects, for explain. */
  readonly names: readonly string[]
  readonly trafficPolicy: TrafficPolicy | undefined
  readonly subsets: ReadonlyMap<string, { labels: Readonly<Record<string, string>>; trafficPolicy?: TrafficPolicy }>
}

/**
 * Where the rules of a host come from: the client's namespace, else the service's, else the root namespace. The first
 * that has any rule for the host is the only one that counts; undefined = none has.
 */
export function ruleNamespace(index: MeshIndex, host: string, clientNamespace: string): string | undefined {
  const candidates = [clientNamespace, namespaceOf(index, host), index.settings.rootNamespace]
  return candidates.find((namespace) => namespace !== '' && index.destinationRulesIn(namespace, host).length > 0)
}

/** Merges as Istio does: subsets add up, the first of a name counts; of trafficPolicy the oldest is taken whole. */
export function mergedRule(index: MeshIndex, host: string, clientNamespace: string): MergedRule | undefined {
  const namespace = ruleNamespace(index, host, clientNamespace)
  if (namespace === undefined) return undefined
  const rules = index.destinationRulesIn(namespace, host)
  const subsets = new Map<string, { labels: Readonly<Record<string, string>>; trafficPolicy?: TrafficPolicy }>()
  for (const { spec } of rules)
    for (const subset of spec.subsets) if (!subsets.has(subset.name)) subsets.set(subset.name, subset)
  return {
    names: rules.map((rule) => rule.name),
    trafficPolicy: rules.find((rule) => rule.spec.trafficPolicy !== undefined)?.spec.trafficPolicy,
    subsets,
  }
}

/**
 * The policy of a cluster. A port-level entry replaces the whole policy for its port (what it leaves out falls to the
 * defaults, not to the rule); the subset's blocks then replace those of the rule one by one, or all of them if the
 * subset has an entry for the port. Blocks are never merged inside.
 */
export function effectivePolicy(rule: MergedRule | undefined, subset: string, port: number): PolicyBlocks {
  const base = forPort(rule?.trafficPolicy, port)
  const own = rule?.subsets.get(subset)?.trafficPolicy
  if (own === undefined) return base.blocks
  const overlay = forPort(own, port)
  if (overlay.portLevel) return overlay.blocks
  const set = Object.entries(overlay.blocks).filter(([, block]) => block !== undefined)
  return { ...base.blocks, ...Object.fromEntries(set) }
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

/** Of a service's fully qualified name, registered or not; '' for other hosts. */
function namespaceOf(index: MeshIndex, host: string): string {
  const known = index.services.get(host)?.namespace
  if (known !== undefined) return known
  const [service = '', namespace = ''] = host.split('.')
  return serviceHost(service, namespace, index.settings.domain) === host ? namespace : ''
}
