import type { Analyzer } from './analyzer.ts'
import { destinationsOf } from './destinations.ts'

const CODE = 'IST0112'

/** Services that register have one port; a ServiceEntry may have several. */
export const portNeeded: Analyzer = {
  codes: { [CODE]: 'a destination has several ports and none is named: the port that was dialled is taken' },
  checks: {
    VirtualService({ spec, namespace, report }, world) {
      spec.http.forEach((route, r) => {
        for (const { destination, path } of destinationsOf(route, r)) {
          const host = world.host(destination.host, namespace)
          const ports = world.declared(host)?.rule.spec.ports ?? []
          if (destination.port !== undefined || ports.length < 2) continue
          const numbers = ports.map(({ number }) => number).join(', ')
          report('warning', CODE, path, `${host} has the ports ${numbers}: without port the dialled one is taken`)
        }
      })
    },
  },
}
