import { parentHosts } from '../resources/gateway-api.ts'
import type { KindName, SpecOf } from '../resources/kinds.ts'
import type { Candidate, ExistingState } from '../resources/validate.ts'
import { mergeObjects } from '../store/merge-objects.ts'
import type { EndpointRecord, StoredObject } from '../store/store.ts'
import { type Declared, declaredEndpoints, declaredServices } from '../translate/declared.ts'
import { dialledHosts, expandHost, hostCovers, mostSpecificHost, serviceHost } from '../translate/hosts.ts'
import { MeshIndex } from '../translate/mesh-index.ts'
import { selects, type TlsMode, tlsModeOf } from '../translate/peer-authentication.ts'
import { type Rule, rulesOf } from '../translate/rule.ts'

export interface WorldSettings {
  /** Domain of service names, "cluster.local". */
  readonly domain: string
  readonly rootNamespace: string
  readonly trustDomain: string
  /** Whether the services and endpoints are those of a mesh; false = only files are there. */
  readonly registryKnown: boolean
}

/** The objects as they will be when the batch is applied, and the endpoints as they are. What is asked twice is kept. */
export class World {
  readonly settings: WorldSettings
  readonly endpoints: readonly EndpointRecord[]
  readonly #services: ExistingState['services']
  readonly #objects: readonly StoredObject[]
  readonly #rules = new Map<KindName, readonly Rule<unknown>[]>()
  readonly #byHost = new Map<string, ReadonlyMap<string, readonly Rule<unknown>[]>>()
  readonly #endpointsByHost: ReadonlyMap<string, readonly EndpointRecord[]>
  readonly #registered: ReadonlySet<string>
  #declared: ReadonlyMap<string, Declared> | undefined
  #wildcardRules: readonly Rule<SpecOf<'DestinationRule'>>[] | undefined
  #spokenOf: ReadonlySet<string> | undefined
  #index: MeshIndex | undefined

  constructor(candidates: readonly Candidate[], existing: ExistingState, settings: WorldSettings) {
    this.settings = settings
    this.endpoints = existing.endpoints
    this.#services = existing.services
    const inputs = candidates.map((candidate) => candidate.input)
    this.#objects = mergeObjects(existing.objects, inputs, 'files')
    const { domain } = settings
    this.#endpointsByHost = Map.groupBy(existing.endpoints, (e) => serviceHost(e.service, e.namespace, domain))
    this.#registered = new Set([
      ...existing.services.map((s) => serviceHost(s.service, s.namespace, domain)),
      ...this.#endpointsByHost.keys(),
    ])
  }

  get registryKnown(): boolean {
    return this.settings.registryKnown
  }

  /** Fully qualified, as a rule of `namespace` means it. */
  host(host: string, namespace: string): string {
    return expandHost(host, namespace, this.settings.domain)
  }

  /** All objects of a kind, oldest first. */
  all<Name extends KindName>(kind: Name): readonly Rule<SpecOf<Name>>[] {
    let rules = this.#rules.get(kind)
    if (rules === undefined) {
      rules = rulesOf(this.#objects, kind)
      this.#rules.set(kind, rules)
    }
    return rules as readonly Rule<SpecOf<Name>>[]
  }

  /** VirtualServices by the hosts that they decide, fully qualified. */
  virtualServicesOf(host: string) {
    return this.#by('VirtualService', host, ({ spec, object }) =>
      spec.hosts.map((name) => this.host(name, object.namespace)),
    )
  }

  /** DestinationRules with that very host. */
  destinationRulesOf(host: string) {
    return this.#by('DestinationRule', host, ({ spec, object }) => [this.host(spec.host, object.namespace)])
  }

  /** DestinationRules that say something about a host, those of wildcards too. */
  destinationRulesCovering(host: string) {
    this.#wildcardRules ??= this.all('DestinationRule').filter(({ spec }) => spec.host.includes('*'))
    const exact = host.includes('*') ? [] : this.destinationRulesOf(host)
    const wild = this.#wildcardRules.filter(({ spec, object }) =>
      hostCovers(this.host(spec.host, object.namespace), host),
    )
    return [...exact, ...wild]
  }

  serviceEntriesOf(host: string) {
    return this.#by('ServiceEntry', host, ({ spec }) => spec.hosts)
  }

  servicePoliciesOf(host: string) {
    return this.#by('ServicePolicy', host, ({ spec, object }) => [this.host(spec.service, object.namespace)])
  }

  /** HTTPRoutes or GRPCRoutes that are attached to a service. */
  routesOf(kind: 'HTTPRoute' | 'GRPCRoute', host: string) {
    return this.#by(kind, host, ({ spec, object }) =>
      parentHosts(spec.parentRefs, object.namespace, this.settings.domain).map((parent) => parent.host),
    )
  }

  #by<Name extends KindName>(
    kind: Name,
    host: string,
    hostsOf: (rule: Rule<SpecOf<Name>>) => readonly string[],
  ): readonly Rule<SpecOf<Name>>[] {
    let table = this.#byHost.get(kind)
    if (table === undefined) {
      const lists = new Map<string, Rule<SpecOf<Name>>[]>()
      for (const rule of this.all(kind))
        for (const name of new Set(hostsOf(rule))) {
          const list = lists.get(name)
          if (list === undefined) lists.set(name, [rule])
          else list.push(rule)
        }
      table = lists
      this.#byHost.set(kind, lists)
    }
    return (table.get(host) ?? []) as readonly Rule<SpecOf<Name>>[]
  }

  /** Whether somebody has registered as this service, or a ServiceEntry declares it. */
  isKnown(host: string): boolean {
    return this.#registered.has(host) || this.declared(host) !== undefined
  }

  /** The ServiceEntry that declares a host, by its name or a wildcard. */
  declared(host: string): Declared | undefined {
    this.#declared ??= declaredServices(this.#objects)
    const pattern = this.#declared.has(host) ? host : mostSpecificHost(this.#declared.keys(), host)
    return pattern === undefined ? undefined : this.#declared.get(pattern)
  }

  /** Without a registry: whether any object is about this host. */
  isSpokenOf(host: string): boolean {
    this.#spokenOf ??= new Set([
      ...this.all('VirtualService').flatMap(({ spec, object }) =>
        spec.hosts.map((h) => this.host(h, object.namespace)),
      ),
      ...this.all('DestinationRule').map(({ spec, object }) => this.host(spec.host, object.namespace)),
      ...this.all('ServicePolicy').map(({ spec, object }) => this.host(spec.service, object.namespace)),
      ...(['HTTPRoute', 'GRPCRoute'] as const).flatMap((kind) =>
        this.all(kind).flatMap(({ spec, object }) =>
          parentHosts(spec.parentRefs, object.namespace, this.settings.domain).map((parent) => parent.host),
        ),
      ),
    ])
    return this.#spokenOf.has(host) || [...this.#spokenOf].some((name) => name.includes('*') && hostCovers(name, host))
  }

  /** What a name that somebody dials in `namespace` may mean. */
  dialled(name: string, namespace: string): string[] {
    return dialledHosts(name, namespace, this.settings.domain)
  }

  /** Whether `labelsOf` knows the endpoints of a host. */
  endpointsKnown(host: string): boolean {
    const declared = this.declared(host)
    return this.registryKnown || (declared !== undefined && declared.rule.spec.workloadSelector === undefined)
  }

  /** Of each endpoint, registered or declared. */
  labelsOf(host: string): readonly Readonly<Record<string, string>>[] {
    const declared = this.declared(host)
    const port = declared?.rule.spec.ports[0]?.number
    if (declared === undefined || port === undefined)
      return (this.#endpointsByHost.get(host) ?? []).map(({ labels }) => labels)
    const { trustDomain } = this.settings
    const workloads = this.all('WorkloadEntry')
    return declaredEndpoints(declared, host, port, { trustDomain, workloads, registered: this.endpoints }).map(
      ({ labels }) => labels,
    )
  }

  someEndpoint(host: string, labels: Readonly<Record<string, string>>): boolean {
    return this.labelsOf(host).some((own) => selects(labels, own))
  }

  /** Endpoints that a selector of `namespace` picks; in the root namespace it is for all namespaces. */
  selected(namespace: string, matchLabels: Readonly<Record<string, string>>): readonly EndpointRecord[] {
    const everywhere = namespace === this.settings.rootNamespace
    return this.endpoints.filter((e) => (everywhere || e.namespace === namespace) && selects(matchLabels, e.labels))
  }

  /** What servers take: each of these endpoints, or, where there are none, workloads of the namespace with these labels. */
  tlsModes(
    endpoints: readonly EndpointRecord[],
    namespace: string,
    labels: Readonly<Record<string, string>> = {},
  ): ReadonlySet<TlsMode> {
    if (endpoints.length === 0) return new Set([tlsModeOf(this.index, namespace, labels, 0)])
    return new Set(endpoints.map((e) => tlsModeOf(this.index, e.namespace, e.labels, e.port)))
  }

  /** As the translation sees it all. */
  get index(): MeshIndex {
    const { trustDomain, rootNamespace, domain } = this.settings
    this.#index ??= new MeshIndex({
      ...{ revision: 0, settings: { trustDomain, rootNamespace, domain, outboundTrafficPolicy: 'ALLOW_ANY' } },
      ...{ objects: this.#objects, endpoints: this.endpoints, services: this.#services, trustBundles: new Map() },
    })
    return this.#index
  }
}
