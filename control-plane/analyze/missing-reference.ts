import type { FieldPath } from '../resources/document.ts'
import { backendKind, isServiceParent, parentHosts } from '../resources/gateway-api.ts'
import type { GrpcRouteSpec } from '../resources/grpc-route.ts'
import type { HttpRouteSpec } from '../resources/http-route.ts'
import type { VirtualServiceSpec } from '../resources/virtual-service.ts'
import { serviceHost } from '../translate/hosts.ts'
import { isVisible } from '../translate/visibility.ts'
import type { Analyzer, Subject } from './analyzer.ts'
import { destinationsOf, subsetState } from './destinations.ts'
import { reportDots, reportUnknownHost } from './unknown-host.ts'
import type { World } from './world.ts'

const CODE = 'IST0101'

/** What an object names and what is not there: hosts, subsets, delegates, gateways. */
export const missingReference: Analyzer = {
  codes: { [CODE]: 'a destination, mirror, subset, delegate or gateway that an object names does not exist' },
  onApply: 'warns',
  checks: {
    VirtualService: checkVirtualService,
    ServicePolicy: (subject, world) => reportUnknownHost(subject, world, CODE, subject.spec.service, ['service']),
    TrafficSplit(subject, world) {
      const { sourceService, destinationService } = subject.spec
      reportUnknownHost(subject, world, CODE, destinationService, ['destinationService'])
      if (sourceService !== undefined) reportUnknownHost(subject, world, CODE, sourceService, ['sourceService'])
    },
    HTTPRoute: checkRoute,
    GRPCRoute: checkRoute,
  },
}

function checkVirtualService(subject: Subject<'VirtualService'>, world: World): void {
  const { spec, namespace } = subject
  spec.gateways?.forEach((name, g) => {
    if (name !== 'mesh' && spec.gateways!.includes('mesh'))
      subject.report('warning', CODE, ['gateways', g], `there is no gateway "${name}": only "mesh" counts here`)
  })
  spec.hosts.forEach((host, h) => {
    reportDots(subject, world, CODE, host, ['hosts', h])
  })
  spec.http.forEach((route, r) => {
    for (const { destination, path } of destinationsOf(route, r)) {
      reportUnknownHost(subject, world, CODE, destination.host, [...path, 'host'])
      const host = world.host(destination.host, namespace)
      if (destination.subset !== undefined) checkSubset(subject, world, host, destination.subset, [...path, 'subset'])
    }
    if (route.delegate !== undefined) checkDelegate(subject, world, route.delegate, ['http', r, 'delegate'])
  })
}

function checkSubset(
  subject: Subject<'VirtualService'>,
  world: World,
  host: string,
  subset: string,
  path: FieldPath,
): void {
  if (subsetState(world, host, subset) !== 'missing') return
  const message = `no DestinationRule defines the subset "${subset}" of ${host}`
  const noVersion = world.endpointsKnown(host) ? ` and no endpoint has the label version=${subset}` : ''
  subject.report('error', CODE, path, message + noVersion)
}

/** A rule whose delegate cannot be used is left out, so that its calls go on to the next rule. */
function checkDelegate(
  subject: Subject<'VirtualService'>,
  world: World,
  { name, namespace = subject.namespace }: NonNullable<VirtualServiceSpec['http'][number]['delegate']>,
  path: FieldPath,
): void {
  const full = `VirtualService/${namespace}/${name}`
  const delegate = world.all('VirtualService').find((other) => other.name === full)
  const say = (what: string) => subject.report('error', CODE, path, `${full} ${what}: the rule has no effect`)
  if (delegate === undefined) say('does not exist')
  else if (delegate.spec.hosts.length > 0) say('has hosts of its own')
  else if (!isVisible({ home: namespace, exportTo: delegate.spec.exportTo }, subject.namespace))
    say(`is not exported to ${subject.namespace}`)
}

function checkRoute(
  subject: Pick<Subject, 'namespace' | 'report'> & { readonly spec: HttpRouteSpec | GrpcRouteSpec },
  world: World,
): void {
  const { spec, namespace } = subject
  const { domain } = world.settings
  spec.parentRefs.forEach((parent, p) => {
    if (!isServiceParent(parent)) return
    const [own] = parentHosts([parent], namespace, domain)
    reportUnknownHost(subject, world, CODE, own!.host, ['parentRefs', p])
  })
  spec.rules.forEach((rule, r) => {
    const backends = [
      ...rule.backendRefs.map((backend, b) => ({ backend, path: ['rules', r, 'backendRefs', b, 'name'] })),
      ...rule.filters.flatMap(({ requestMirror }, f) => {
        const path = ['rules', r, 'filters', f, 'requestMirror', 'backendRef', 'name']
        return requestMirror === undefined ? [] : [{ backend: requestMirror.backendRef, path }]
      }),
    ]
    for (const { backend, path } of backends) {
      const { name, namespace: of = namespace } = backend
      const what = backendKind(backend)
      if (what === 'unknown') continue
      reportUnknownHost(subject, world, CODE, what === 'service' ? serviceHost(name, of, domain) : name, path)
    }
  })
}
