import type { FieldPath } from '../resources/document.ts'
import type { HttpRoute } from '../resources/virtual-service.ts'
import type { World } from './world.ts'

interface PlacedDestination {
  readonly destination: HttpRoute['route'][number]['destination']
  readonly path: FieldPath
}

/** All that rule number `r` sends calls to, mirrors too. */
export function destinationsOf(route: HttpRoute, r: number): PlacedDestination[] {
  return [
    ...route.route.map(({ destination }, d) => ({ destination, path: ['http', r, 'route', d, 'destination'] })),
    ...(route.mirror === undefined ? [] : [{ destination: route.mirror, path: ['http', r, 'mirror'] }]),
    ...route.mirrors.map(({ destination }, m) => ({ destination, path: ['http', r, 'mirrors', m, 'destination'] })),
  ]
}

/**
 * What becomes of calls to a subset: a DestinationRule defines it; no rule does, and endpoints have its name as their
 * version (or may have: 'version'); or there is nothing to send them to.
 */
export function subsetState(world: World, host: string, subset: string): 'defined' | 'version' | 'missing' {
  const subsets = world.destinationRulesCovering(host).flatMap(({ spec }) => spec.subsets)
  if (subsets.some(({ name }) => name === subset)) return 'defined'
  if (world.endpointsKnown(host)) return world.someEndpoint(host, { version: subset }) ? 'version' : 'missing'
  return subsets.length > 0 ? 'missing' : 'version'
}
