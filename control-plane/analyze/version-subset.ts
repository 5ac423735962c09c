import type { Analyzer } from './analyzer.ts'
import { destinationsOf, subsetState } from './destinations.ts'

const CODE = 'INM0101'

/** Istio answers calls to a subset that no rule defines with 503; here they go to the endpoints of that version. */
export const versionSubset: Analyzer = {
  codes: { [CODE]: 'no DestinationRule defines the subset: endpoints whose label "version" is its name are taken' },
  checks: {
    VirtualService({ spec, namespace, report }, world) {
      spec.http.forEach((route, r) => {
        for (const { destination, path } of destinationsOf(route, r)) {
          const { host, subset } = destination
          if (subset === undefined || subsetState(world, world.host(host, namespace), subset) !== 'version') continue
          const message = `no DestinationRule defines "${subset}": endpoints with version=${subset} are taken`
          report('warning', CODE, [...path, 'subset'], message)
        }
      })
    },
  },
}
