import { serviceHost } from '../translate/hosts.ts'
import { backendKind, isServiceParent, type ParentRef } from './gateway-api.ts'
import type { GrpcRouteSpec } from './grpc-route.ts'
import type { HttpRouteSpec } from './http-route.ts'
import type { KindName, SpecOf } from './kinds.ts'
import type { Candidate } from './validate.ts'

type Path = (string | number)[]

/** What the check of one object can ask about the others. */
export interface Surroundings {
  readonly domain: string
  host(host: string, namespace: string): string
  others<Name extends KindName>(
    kind: Name,
    self: Candidate,
  ): readonly { readonly name: string; readonly namespace: string; readonly spec: SpecOf<Name> }[]
  checkService(candidate: Candidate, service: string, path: Path): void
}

/** Services that a route of namespace `home` is attached to; `port` undefined = every port. */
export function parentHosts(parents: readonly ParentRef[], home: string, domain: string) {
  return parents
    .filter(isServiceParent)
    .map(({ name, namespace = home, port }) => ({ host: serviceHost(name, namespace, domain), port }))
}

/** Routes of the Gateway API among the other objects: their parents and backends, and who else decides about a parent. */
export function checkGatewayRoute(
  candidate: Candidate,
  spec: HttpRouteSpec | GrpcRouteSpec,
  kind: 'HTTPRoute' | 'GRPCRoute',
  world: Surroundings,
): void {
  const { namespace } = candidate.input
  const hostsOf = (parents: readonly ParentRef[], home: string) => parentHosts(parents, home, world.domain)
  const virtualServices = world.others('VirtualService', candidate)
  const grpcRoutes = kind === 'HTTPRoute' ? world.others('GRPCRoute', candidate) : []
  spec.parentRefs.forEach((parent, index) => {
    const [own] = hostsOf([parent], namespace)
    if (own === undefined) return
    const path = ['parentRefs', index]
    world.checkService(candidate, own.host, path)
    const rival = virtualServices.find((o) => o.spec.hosts.some((h) => world.host(h, o.namespace) === own.host))
    if (rival !== undefined)
      candidate.report('warning', path, `${rival.name} has the host "${own.host}" too: the older one decides`)
    const stronger = grpcRoutes.find((o) =>
      hostsOf(o.spec.parentRefs, o.namespace).some(
        ({ host, port }) => host === own.host && (port === undefined || own.port === undefined || port === own.port),
      ),
    )
    if (stronger !== undefined)
      candidate.report('warning', path, `has no effect where ${stronger.name} is attached too: GRPCRoutes come first`)
  })
  spec.rules.forEach((rule, r) => {
    const backends = [
      ...rule.backendRefs.map((backend, b) => ({ backend, path: ['rules', r, 'backendRefs', b, 'name'] })),
      ...rule.filters.flatMap(({ requestMirror }, f) =>
        requestMirror === undefined
          ? []
          : [
              {
                backend: requestMirror.backendRef,
                path: ['rules', r, 'filters', f, 'requestMirror', 'backendRef', 'name'],
              },
            ],
      ),
    ]
    for (const { backend, path } of backends) {
      const { name, namespace: of = namespace } = backend
      const what = backendKind(backend)
      if (what === 'service') world.checkService(candidate, serviceHost(name, of, world.domain), path)
      if (what === 'host') world.checkService(candidate, name, path)
    }
  })
}
