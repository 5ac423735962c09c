import { isServiceParent } from '../resources/gateway-api.ts'
import type { GrpcRouteSpec } from '../resources/grpc-route.ts'
import type { HttpRouteSpec } from '../resources/http-route.ts'
import type { StoredObject } from '../store/store.ts'
import { serviceHost } from './hosts.ts'
import { byAge, type Rule, rulesOf } from './rule.ts'

/** A route of the Gateway API. */
export type GatewayRoute =
  | { readonly kind: 'HTTPRoute'; readonly rule: Rule<HttpRouteSpec> }
  | { readonly kind: 'GRPCRoute'; readonly rule: Rule<GrpcRouteSpec> }

/** The routes that decide about one port of a Service for one namespace: all of one kind, oldest first. */
export interface RouteSet {
  readonly routes: readonly GatewayRoute[]
  /** HTTPRoutes that GRPCRoutes put out of action. */
  readonly ignored: readonly string[]
}

interface Attached {
  /** undefined = every port. */
  readonly port: number | undefined
  /** Of the Service. */
  readonly home: string
  readonly route: GatewayRoute
}

/** HTTPRoutes and GRPCRoutes by the Services that are their parents (GAMMA). */
export class GatewayRoutes {
  readonly #byHost: ReadonlyMap<string, readonly Attached[]>

  constructor(objects: readonly StoredObject[], domain: string) {
    const routes: GatewayRoute[] = [
      ...rulesOf(objects, 'HTTPRoute').map((rule) => ({ kind: 'HTTPRoute' as const, rule })),
      ...rulesOf(objects, 'GRPCRoute').map((rule) => ({ kind: 'GRPCRoute' as const, rule })),
    ]
    const attached = routes
      .toSorted((a, b) => byAge(a.rule.object, b.rule.object))
      .flatMap((route) =>
        route.rule.spec.parentRefs.filter(isServiceParent).map(({ name, namespace, port }) => {
          const home = namespace ?? route.rule.object.namespace
          return { host: serviceHost(name, home, domain), attached: { port, home, route } }
        }),
      )
    this.#byHost = new Map(
      [...Map.groupBy(attached, ({ host }) => host)].map(([host, list]) => [host, list.map((entry) => entry.attached)]),
    )
  }

  /**
   * Routes in the viewer's own namespace replace those of the Service's namespace, which are for everybody; routes of
   * other namespaces do not count. GRPCRoutes come before HTTPRoutes. undefined = none is attached.
   */
  of(host: string, port: number, viewer: string): RouteSet | undefined {
    const here = (this.#byHost.get(host) ?? []).filter((entry) => entry.port === undefined || entry.port === port)
    const from = (namespace: (entry: Attached) => string) => [
      ...new Set(here.filter((entry) => entry.route.rule.object.namespace === namespace(entry)).map((e) => e.route)),
    ]
    const own = from(() => viewer)
    const routes = own.length > 0 ? own : from((entry) => entry.home)
    if (routes.length === 0) return undefined
    const grpc = routes.filter((route) => route.kind === 'GRPCRoute')
    if (grpc.length === 0) return { routes, ignored: [] }
    return { routes: grpc, ignored: routes.filter((route) => route.kind === 'HTTPRoute').map(({ rule }) => rule.name) }
  }
}
