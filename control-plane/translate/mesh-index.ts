import { createHash } from 'node:crypto'
import type { AuthorizationPolicySpec } from '../resources/authorization-policy.ts'
import type { DestinationRuleSpec } from '../resources/destination-rule.ts'
import type { PeerAuthenticationSpec } from '../resources/peer-authentication.ts'
import type { RateLimitSpec } from '../resources/rate-limit.ts'
import type { ServicePolicySpec } from '../resources/service-policy.ts'
import type { TrafficSplitSpec } from '../resources/traffic-split.ts'
import type { VirtualServiceSpec } from '../resources/virtual-service.ts'
import type { EndpointRecord, StoredObject } from '../store/store.ts'
import {
  type Declared,
  type DeclaredEndpoint,
  declaredEndpoints,
  declaredServices,
  type EndpointSources,
} from './declared.ts'
import { type EffectiveSettings, effectiveSettings } from './effective-settings.ts'
import { EgressScopes } from './egress.ts'
import { GatewayRoutes } from './gateway-routes.ts'
import { expandHost, hostCovers, mostSpecificHost, serviceHost } from './hosts.ts'
import { byAge, compareText, objectKey, type Rule, rulesOf } from './rule.ts'
import type { MeshRevision } from './types.ts'
import { type Exported, isVisible, visibilityFrom, visibleInOrder } from './visibility.ts'

/** A service that has ever registered. */
export interface Service {
  /** Fully qualified. */
  readonly host: string
  readonly service: string
  readonly namespace: string
  /** By address and port. */
  readonly endpoints: readonly EndpointRecord[]
  /** Equal texts = equal endpoints. */
  readonly endpointsKey: string
  /** By a ServiceEntry; null = its workloads register themselves. */
  readonly declared: Declared | null
}

/** One revision, arranged for the questions of the translation. Built once per revision; immutable. */
export class MeshIndex {
  readonly settings: EffectiveSettings
  readonly services: ReadonlyMap<string, Service>
  /** Hosts that some rule sends calls to, known or not. */
  readonly destinations: ReadonlySet<string>
  readonly authorization: readonly { object: StoredObject; spec: AuthorizationPolicySpec | undefined }[]
  readonly peerAuthentication: readonly { object: StoredObject; spec: PeerAuthenticationSpec | undefined }[]
  /** Equal texts = equal settings, objects and services, whatever the endpoints. */
  readonly configKey: string
  /** Equal texts = equal trust bundles. */
  readonly bundlesKey: string
  readonly trustBundles: MeshRevision['trustBundles']
  /** What each client may see (Sidecar). */
  readonly egress: EgressScopes
  /** Oldest first. */
  readonly rateLimits: readonly Rule<RateLimitSpec>[]
  /** HTTPRoutes and GRPCRoutes. */
  readonly gatewayRoutes: GatewayRoutes
  /** Registered processes. */
  readonly instances: number
  /** By host, oldest first. */
  readonly #virtualServices: ReadonlyMap<string, readonly Rule<VirtualServiceSpec>[]>
  readonly #wildcards: readonly string[]
  readonly #declared: ReadonlyMap<string, Declared>
  readonly #sources: EndpointSources
  /** Those without hosts, by namespace and name. */
  readonly #delegates: ReadonlyMap<string, Rule<VirtualServiceSpec>>
  readonly #selective: ReadonlyMap<string, readonly Rule<DestinationRuleSpec>[]>
  readonly #rulesByNamespace: ReadonlyMap<string, readonly { host: string; rule: Rule<DestinationRuleSpec> }[]>
  readonly #rulesFor = new Map<string, readonly Rule<DestinationRuleSpec>[]>()
  readonly #policies = new Map<string, Rule<ServicePolicySpec>>()
  readonly #splits: ReadonlyMap<string, readonly Rule<TrafficSplitSpec>[]>

  constructor(revision: MeshRevision) {
    const { objects } = revision
    const settings = effectiveSettings(revision.settings, objects)
    this.settings = settings
    this.trustBundles = withAliases(revision.trustBundles, settings)
    this.#declared = declaredServices(objects)
    this.#sources = {
      trustDomain: settings.trustDomain,
      workloads: rulesOf(objects, 'WorkloadEntry'),
      registered: revision.endpoints,
    }
    this.services = servicesOf(revision, this.#declared)
    this.instances = new Set(revision.endpoints.map((e) => e.instanceId)).size
    const expand = (host: string, rule: Rule<unknown>) => expandHost(host, rule.object.namespace, settings.domain)

    // Bound to gateways only, or silent about HTTP: nothing for calls inside the mesh.
    const virtualServices = rulesOf(objects, 'VirtualService').filter(
      ({ spec }) => spec.http.length > 0 && (spec.gateways === undefined || spec.gateways.includes('mesh')),
    )
    this.#virtualServices = listByHost(virtualServices, (rule) => rule.spec.hosts.map((host) => expand(host, rule)))
    this.#wildcards = [...this.#virtualServices.keys()].filter((host) => host.includes('*'))
    this.#delegates = new Map(
      virtualServices
        .filter(({ spec }) => spec.hosts.length === 0)
        .map((rule) => [`${rule.object.namespace}/${rule.object.name}`, rule]),
    )
    const destinationRules = rulesOf(objects, 'DestinationRule')
    this.#selective = Map.groupBy(
      destinationRules.filter(({ spec }) => spec.workloadSelector !== undefined),
      ({ object }) => object.namespace,
    )
    this.#rulesByNamespace = Map.groupBy(
      destinationRules.map((rule) => ({ host: expand(rule.spec.host, rule), rule })),
      ({ rule }) => rule.object.namespace,
    )
    const splits = rulesOf(objects, 'TrafficSplit')
    this.#splits = Map.groupBy(splits.toSorted(newestFirst), (rule) => expand(rule.spec.destinationService, rule))
    for (const rule of rulesOf(objects, 'ServicePolicy')) {
      const host = expand(rule.spec.service, rule)
      const before = this.#policies.get(host)
      const home = this.services.get(host)?.namespace
      // One in the service's own namespace comes before those of others, then the oldest.
      if (before === undefined || (before.object.namespace !== home && rule.object.namespace === home))
        this.#policies.set(host, rule)
    }
    this.destinations = new Set([
      ...this.#splits.keys(),
      ...virtualServices.flatMap((rule) =>
        rule.spec.http.flatMap((http) =>
          [...http.route, ...http.mirrors, ...(http.mirror === undefined ? [] : [{ destination: http.mirror }])].map(
            ({ destination }) => expand(destination.host, rule),
          ),
        ),
      ),
    ])
    this.gatewayRoutes = new GatewayRoutes(objects, settings.domain)
    this.egress = new EgressScopes(rulesOf(objects, 'Sidecar'), settings)
    this.rateLimits = rulesOf(objects, 'RateLimit')
    this.authorization = withSpecs(objects, 'AuthorizationPolicy')
    this.peerAuthentication = withSpecs(objects, 'PeerAuthentication')
    this.configKey = configKey(revision, this.services)
    this.bundlesKey = JSON.stringify([...this.trustBundles].sort(([a], [b]) => compareText(a, b)))
  }

  /**
   * The one that decides for a host as a namespace sees it: its own, else that of the longest wildcard. Of several: private
   * ones, then those exported to that namespace by name, then public ones; the oldest of them.
   */
  virtualService(host: string, viewer: string): Rule<VirtualServiceSpec> | undefined {
    const own = this.#firstVisible(host, viewer)
    if (own !== undefined) return own
    const visible = this.#wildcards.filter((name) => this.#firstVisible(name, viewer) !== undefined)
    const pattern = mostSpecificHost(visible, host)
    return pattern === undefined ? undefined : this.#firstVisible(pattern, viewer)
  }

  /** Whether a namespace sees a service: those that register themselves all do. */
  isServiceVisible({ declared }: Service, viewer: string): boolean {
    if (declared === null) return true
    const { object, spec } = declared.rule
    const fallback = this.settings.defaultExportTo.service
    return isVisible({ home: object.namespace, exportTo: spec.exportTo, fallback }, viewer)
  }

  /** The wildcard that a ServiceEntry declares over a host, where the host is nobody's own; undefined = none. */
  wildcardService(host: string): Service | undefined {
    const pattern = mostSpecificHost(
      [...this.#declared.keys()].filter((name) => name.includes('*')),
      host,
    )
    return pattern === undefined ? undefined : this.services.get(pattern)
  }

  /** Of a declared service, at one of its ports. */
  declaredEndpoints(declared: Declared, host: string, port: number): DeclaredEndpoint[] {
    return declaredEndpoints(declared, host, port, this.#sources)
  }

  /** One without hosts, if that namespace sees it. */
  delegate(namespace: string, name: string, viewer: string): Rule<VirtualServiceSpec> | undefined {
    const rule = this.#delegates.get(`${namespace}/${name}`)
    return rule !== undefined && isVisible(this.#exported(rule), viewer) ? rule : undefined
  }

  #firstVisible(host: string, viewer: string): Rule<VirtualServiceSpec> | undefined {
    return visibleInOrder(this.#virtualServices.get(host) ?? [], (rule) => this.#exported(rule), viewer)[0]
  }

  #exported({ object, spec }: Rule<VirtualServiceSpec>): Exported {
    return { home: object.namespace, exportTo: spec.exportTo, fallback: this.settings.defaultExportTo.virtualService }
  }

  /** DestinationRules of a namespace that are for some of its callers only. */
  selectiveRules(namespace: string): readonly Rule<DestinationRuleSpec>[] {
    return this.#selective.get(namespace) ?? []
  }

  servicePolicy(host: string): Rule<ServicePolicySpec> | undefined {
    return this.#policies.get(host)
  }

  /** Of the splits of a host, the newest for this caller, else the newest for all callers. */
  trafficSplit(host: string, callerHost: string): Rule<TrafficSplitSpec> | undefined {
    const splits = this.#splits.get(host) ?? []
    const expand = (rule: Rule<TrafficSplitSpec>) =>
      rule.spec.sourceService === undefined
        ? undefined
        : expandHost(rule.spec.sourceService, rule.object.namespace, this.settings.domain)
    return splits.find((rule) => expand(rule) === callerHost) ?? splits.find((rule) => expand(rule) === undefined)
  }

  /**
   * The rules of one namespace with the most specific host that covers `host`, as far as `viewer` sees them (exportTo),
   * oldest first. 'private' = only those that no other namespace sees.
   */
  destinationRulesIn(
    namespace: string,
    host: string,
    viewer: string,
    only: 'any' | 'private',
  ): readonly Rule<DestinationRuleSpec>[] {
    const key = `${namespace} ${host} ${viewer} ${only}`
    let found = this.#rulesFor.get(key)
    if (found === undefined) {
      const fallback = this.settings.defaultExportTo.destinationRule
      const here = this.#rulesByNamespace.get(namespace) ?? []
      const covering = here.filter(({ host: pattern, rule }) => {
        const visibility = visibilityFrom({ home: namespace, exportTo: rule.spec.exportTo, fallback }, viewer)
        return (only === 'any' ? visibility !== undefined : visibility === 'private') && hostCovers(pattern, host)
      })
      const best = mostSpecificHost(
        covering.map((entry) => entry.host),
        host,
      )
      found = covering.filter((entry) => entry.host === best).map((entry) => entry.rule)
      this.#rulesFor.set(key, found)
    }
    return found
  }
}

/** The roots of the mesh vouch for the aliases of its trust domain too, unless those have roots of their own. */
function withAliases(bundles: MeshRevision['trustBundles'], { trustDomain, trustDomains }: EffectiveSettings) {
  const own = bundles.get(trustDomain)
  if (own === undefined || trustDomains.length === 1) return bundles
  return new Map([...trustDomains.map((domain) => [domain, own] as const), ...bundles])
}

function newestFirst(a: Rule<TrafficSplitSpec>, b: Rule<TrafficSplitSpec>): number {
  return b.object.updatedAt - a.object.updatedAt || b.object.revision - a.object.revision || compareText(a.name, b.name)
}

function listByHost<T>(rules: readonly T[], hostsOf: (rule: T) => readonly string[]): Map<string, T[]> {
  const lists = new Map<string, T[]>()
  for (const rule of rules)
    for (const host of hostsOf(rule)) {
      const list = lists.get(host) ?? []
      list.push(rule)
      lists.set(host, list)
    }
  return lists
}

/** Oldest first. Policies that cannot be read stay in the list: leaving one out could open what it closes. */
function withSpecs<Name extends 'AuthorizationPolicy' | 'PeerAuthentication'>(
  objects: readonly StoredObject[],
  kind: Name,
) {
  const readable = new Map(rulesOf(objects, kind).map((rule) => [rule.object, rule.spec]))
  return objects
    .filter((object) => object.kind === kind)
    .toSorted(byAge)
    .map((object) => ({ object, spec: readable.get(object) }))
}

function servicesOf(revision: MeshRevision, declared: ReadonlyMap<string, Declared>): Map<string, Service> {
  const { domain } = revision.settings
  const endpoints = Map.groupBy(revision.endpoints, (e) => serviceHost(e.service, e.namespace, domain))
  const services = new Map<string, Service>()
  for (const { service, namespace } of [...revision.services, ...revision.endpoints]) {
    const host = serviceHost(service, namespace, domain)
    if (services.has(host)) continue
    const own = (endpoints.get(host) ?? []).toSorted((a, b) => compareText(a.address, b.address) || a.port - b.port)
    services.set(host, { host, service, namespace, endpoints: own, endpointsKey: JSON.stringify(own), declared: null })
  }
  const all = JSON.stringify(revision.endpoints)
  for (const [host, entry] of declared) {
    // For a service that registers itself an entry is a remark.
    if (services.has(host)) continue
    const { namespace } = entry.rule.object
    const endpointsKey = entry.rule.spec.workloadSelector === undefined ? '' : all
    services.set(host, { host, service: '', namespace, endpoints: [], endpointsKey, declared: entry })
  }
  return services
}

function configKey(revision: MeshRevision, services: ReadonlyMap<string, Service>): string {
  const hash = createHash('sha256').update(JSON.stringify(revision.settings))
  for (const key of revision.objects.map(objectKey).sort()) hash.update(`\n${key}`)
  for (const host of [...services.keys()].sort()) hash.update(`\n${host}`)
  return hash.digest('base64url')
}
