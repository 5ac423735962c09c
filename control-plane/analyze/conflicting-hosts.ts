import { parentHosts } from '../resources/gateway-api.ts'
import type { HttpRouteSpec } from '../resources/http-route.ts'
import type { VirtualServiceSpec } from '../resources/virtual-service.ts'
import type { Exported } from '../translate/visibility.ts'
import type { Analyzer, Subject } from './analyzer.ts'
import { seenTogether } from './seen-together.ts'
import type { World } from './world.ts'

const CODE = 'IST0109'

/** Several objects that decide about the calls of one host: they are never merged, the older one counts. */
export const conflictingHosts: Analyzer = {
  codes: { [CODE]: 'several objects decide about the calls of one host; only the oldest counts' },
  onApply: 'warns',
  checks: {
    VirtualService(subject, world) {
      const { spec, namespace, name } = subject
      if (!isForMesh(spec)) return
      spec.hosts.forEach((host, index) => {
        const expanded = world.host(host, namespace)
        const clash = world
          .virtualServicesOf(expanded)
          .find(
            (other) =>
              other.name !== name &&
              isForMesh(other.spec) &&
              seenTogether(placed(namespace, spec), placed(other.object.namespace, other.spec)),
          )
        if (clash !== undefined)
          subject.report(
            'error',
            CODE,
            ['hosts', index],
            `${clash.name} has the host "${expanded}" too: the older one decides, they are not merged`,
          )
        for (const kind of ['HTTPRoute', 'GRPCRoute'] as const)
          for (const route of world.routesOf(kind, expanded))
            subject.report(
              'warning',
              CODE,
              ['hosts', index],
              `${route.name} is attached to "${expanded}": the older one decides`,
            )
      })
    },
    HTTPRoute: (subject, world) => checkRoute(subject, subject.spec, world, true),
    GRPCRoute: (subject, world) => checkRoute(subject, subject.spec, world, false),
  },
}

function checkRoute(
  subject: Pick<Subject, 'namespace' | 'report'>,
  { parentRefs }: Pick<HttpRouteSpec, 'parentRefs'>,
  world: World,
  isHttp: boolean,
): void {
  const { domain } = world.settings
  parentRefs.forEach((parent, index) => {
    const [own] = parentHosts([parent], subject.namespace, domain)
    if (own === undefined) return
    const path = ['parentRefs', index]
    const rival = world.virtualServicesOf(own.host).find(({ spec }) => isForMesh(spec))
    if (rival !== undefined)
      subject.report('warning', CODE, path, `${rival.name} has the host "${own.host}" too: the older one decides`)
    if (!isHttp) return
    const stronger = world
      .routesOf('GRPCRoute', own.host)
      .find(({ spec, object }) =>
        parentHosts(spec.parentRefs, object.namespace, domain).some(
          ({ host, port }) => host === own.host && (port === undefined || own.port === undefined || port === own.port),
        ),
      )
    if (stronger !== undefined) {
      const message = `has no effect where ${stronger.name} is attached too: GRPCRoutes come first`
      subject.report('warning', CODE, path, message)
    }
  })
}

function isForMesh({ gateways, http }: VirtualServiceSpec): boolean {
  return http.length > 0 && (gateways === undefined || gateways.includes('mesh'))
}

function placed(home: string, { exportTo }: VirtualServiceSpec): Exported {
  return { home, exportTo }
}
