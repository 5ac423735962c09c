import { expandHost, serviceHost } from '../translate/hosts.ts'
import { isVisible } from '../translate/visibility.ts'
import { checkGatewayRoute, parentHosts } from './cross-check-gateway.ts'
import type { DestinationRuleSpec } from './destination-rule.ts'
import type { GrpcRouteSpec } from './grpc-route.ts'
import type { HttpRouteSpec } from './http-route.ts'
import { type KindName, type SpecOf, specOf } from './kinds.ts'
import type { ServicePolicySpec } from './service-policy.ts'
import { hasSelector, type SidecarSpec } from './sidecar.ts'
import type { TrafficSplitSpec } from './traffic-split.ts'
import type { Candidate, ExistingState } from './validate.ts'
import type { VirtualServiceSpec } from './virtual-service.ts'

/** What only shows when objects are seen together: the batch, the store and the endpoints that are there. */
export function crossCheck(candidates: readonly Candidate[], existing: ExistingState, domain: string): void {
  const world = new World(candidates, existing, domain)
  for (const candidate of candidates) {
    const { kind, namespace } = candidate.input
    if (kind === 'VirtualService') checkVirtualService(candidate, candidate.spec as VirtualServiceSpec, world)
    if (kind === 'DestinationRule') checkDestinationRule(candidate, candidate.spec as DestinationRuleSpec, world)
    if (kind === 'ServicePolicy') {
      const { service } = candidate.spec as ServicePolicySpec
      world.checkService(candidate, service, ['service'])
      const other = world
        .others('ServicePolicy', candidate)
        .find((o) => world.host(o.spec.service, o.namespace) === world.host(service, namespace))
      if (other !== undefined)
        candidate.report('error', ['service'], `"${service}" has a policy already: ${other.name}`)
    }
    if (kind === 'HTTPRoute' || kind === 'GRPCRoute')
      checkGatewayRoute(candidate, candidate.spec as HttpRouteSpec | GrpcRouteSpec, kind, world)
    if (kind === 'Sidecar') checkSidecar(candidate, candidate.spec as SidecarSpec, world)
    if (kind === 'TrafficSplit') {
      const { sourceService, destinationService } = candidate.spec as TrafficSplitSpec
      world.checkService(candidate, destinationService, ['destinationService'])
      if (sourceService !== undefined) world.checkService(candidate, sourceService, ['sourceService'])
    }
  }
}

function checkVirtualService(candidate: Candidate, spec: VirtualServiceSpec, world: World): void {
  const { namespace } = candidate.input
  const others = world.others('VirtualService', candidate)
  spec.hosts.forEach((host, index) => {
    const expanded = world.host(host, namespace)
    const clash = others.find((o) => o.spec.hosts.some((h) => world.host(h, o.namespace) === expanded))
    if (clash !== undefined)
      candidate.report(
        'warning',
        ['hosts', index],
        `${clash.name} has the host "${expanded}" too: the older one decides, they are not merged`,
      )
    for (const kind of ['HTTPRoute', 'GRPCRoute'] as const)
      for (const route of world.others(kind, candidate))
        if (parentHosts(route.spec.parentRefs, route.namespace, world.domain).some((p) => p.host === expanded))
          candidate.report(
            'warning',
            ['hosts', index],
            `${route.name} is attached to "${expanded}": the older one decides`,
          )
  })
  spec.http.forEach((route, r) => {
    const destinations = [
      ...route.route.map(({ destination }, d) => ({ destination, path: ['http', r, 'route', d, 'destination'] })),
      ...(route.mirror === undefined ? [] : [{ destination: route.mirror, path: ['http', r, 'mirror'] }]),
      ...route.mirrors.map(({ destination }, m) => ({ destination, path: ['http', r, 'mirrors', m, 'destination'] })),
    ]
    for (const { destination, path } of destinations) {
      world.checkService(candidate, destination.host, [...path, 'host'])
      if (destination.subset !== undefined)
        world.checkSubset(candidate, world.host(destination.host, namespace), destination.subset, [...path, 'subset'])
    }
    if (route.delegate !== undefined) checkDelegate(candidate, route.delegate, others, ['http', r, 'delegate'])
  })
}

/** A rule whose delegate cannot be used is left out, so that its calls go on to the next rule. */
function checkDelegate(
  candidate: Candidate,
  { name, namespace = candidate.input.namespace }: NonNullable<VirtualServiceSpec['http'][number]['delegate']>,
  others: readonly Other<VirtualServiceSpec>[],
  path: (string | number)[],
): void {
  const { namespace: viewer } = candidate.input
  const full = `VirtualService/${namespace}/${name}`
  const delegate = others.find((other) => other.name === full)
  if (delegate === undefined) candidate.report('warning', path, `${full} does not exist: the rule has no effect`)
  else if (delegate.spec.hosts.length > 0)
    candidate.report('warning', path, `${full} has hosts of its own: the rule has no effect`)
  else if (!isVisible({ home: namespace, exportTo: delegate.spec.exportTo }, viewer))
    candidate.report('warning', path, `${full} is not exported to ${viewer}: the rule has no effect`)
}

function checkDestinationRule(candidate: Candidate, spec: DestinationRuleSpec, world: World): void {
  const { namespace } = candidate.input
  const host = world.host(spec.host, namespace)
  if (!host.includes('*')) world.checkService(candidate, spec.host, ['host'])
  const twin = world
    .others('DestinationRule', candidate)
    .find((o) => o.namespace === namespace && world.host(o.spec.host, o.namespace) === host)
  if (twin !== undefined && twin.spec.trafficPolicy !== undefined && spec.trafficPolicy !== undefined)
    candidate.report(
      'warning',
      ['trafficPolicy'],
      `${twin.name} has a trafficPolicy for the same host: the older one decides`,
    )
  spec.subsets.forEach((subset, index) => {
    if (!world.hasEndpoints(host) || world.someEndpoint(host, subset.labels)) return
    candidate.report('warning', ['subsets', index, 'labels'], `no endpoint of ${host} has these labels now`)
  })
}

/** Which of two Sidecars for the same workloads counts would be chance. */
function checkSidecar(candidate: Candidate, spec: SidecarSpec, world: World): void {
  const { namespace, name } = candidate.input
  const labelsOf = (sidecar: SidecarSpec) =>
    JSON.stringify(Object.entries(sidecar.workloadSelector?.labels ?? {}).sort())
  for (const other of world.others('Sidecar', candidate)) {
    if (other.namespace !== namespace || labelsOf(other.spec) !== labelsOf(spec)) continue
    const both = `Sidecar/${namespace}/${name} and ${other.name}`
    if (hasSelector(spec))
      candidate.report('warning', ['workloadSelector'], `${both} select the same: the older one counts`)
    else candidate.report('error', [], `${both} have no workloadSelector: a namespace can have one such Sidecar`)
  }
}

interface Other<Spec> {
  /** "VirtualService/default/payments". */
  readonly name: string
  readonly namespace: string
  readonly spec: Spec
}

/** The objects as they will be when the batch is applied, and the endpoints as they are. */
class World {
  readonly #candidates: readonly Candidate[]
  readonly #existing: ExistingState
  readonly domain: string
  readonly #services: ReadonlySet<string>

  constructor(candidates: readonly Candidate[], existing: ExistingState, domain: string) {
    this.#candidates = candidates
    this.#existing = existing
    this.domain = domain
    this.#services = new Set(
      [...existing.services, ...existing.endpoints].map((s) => serviceHost(s.service, s.namespace, domain)),
    )
  }

  host(host: string, namespace: string): string {
    return expandHost(host, namespace, this.domain)
  }

  /** All objects of a kind but `self`. */
  others<Name extends KindName>(kind: Name, self: Candidate): Other<SpecOf<Name>>[] {
    const replaced = new Set(this.#candidates.map((c) => `${c.input.kind}/${c.input.namespace}/${c.input.name}`))
    const found: Other<SpecOf<Name>>[] = []
    for (const object of this.#existing.objects) {
      const name = `${object.kind}/${object.namespace}/${object.name}`
      if (object.kind !== kind || replaced.has(name)) continue
      const spec = specOf(object, kind)
      if (spec !== undefined) found.push({ name, namespace: object.namespace, spec })
    }
    for (const candidate of this.#candidates) {
      const { namespace, name } = candidate.input
      if (candidate.input.kind !== kind || candidate === self) continue
      found.push({ name: `${kind}/${namespace}/${name}`, namespace, spec: candidate.spec as SpecOf<Name> })
    }
    return found
  }

  /** Warns about a service that nobody has ever registered. */
  checkService(candidate: Candidate, service: string, path: (string | number)[]): void {
    const host = this.host(service, candidate.input.namespace)
    if (!this.#services.has(host)) candidate.report('warning', path, `no workload has registered as ${host} yet`)
  }

  checkSubset(candidate: Candidate, host: string, subset: string, path: (string | number)[]): void {
    const rules = [
      ...this.others('DestinationRule', candidate).filter((o) => this.host(o.spec.host, o.namespace) === host),
    ]
    if (rules.some((o) => o.spec.subsets.some((s) => s.name === subset))) return
    if (this.someEndpoint(host, { version: subset })) return
    candidate.report(
      'warning',
      path,
      `no DestinationRule defines the subset "${subset}" of ${host} and no endpoint has the label version=${subset}`,
    )
  }

  hasEndpoints(host: string): boolean {
    return this.someEndpoint(host, {})
  }

  someEndpoint(host: string, labels: Readonly<Record<string, string>>): boolean {
    return this.#existing.endpoints.some(
      (e) =>
        serviceHost(e.service, e.namespace, this.domain) === host &&
        Object.entries(labels).every(([key, value]) => e.labels[key] === value),
    )
  }
}
