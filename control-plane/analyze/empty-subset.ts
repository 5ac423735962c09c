import { suggest } from '../resources/suggest.ts'
import type { Analyzer } from './analyzer.ts'

/** Calls to a subset without endpoints are answered with 503. */
export const emptySubset: Analyzer = {
  codes: {
    IST0173: 'no endpoint has all labels of a subset',
    KIA0203: 'no endpoint of the host has one of the labels of a subset at all',
  },
  onApply: 'warns',
  checks: {
    DestinationRule({ spec, namespace, report }, world) {
      const host = world.host(spec.host, namespace)
      const endpoints = world.endpointsKnown(host) ? world.labelsOf(host) : []
      if (endpoints.length === 0) return
      const known = new Set(endpoints.flatMap((labels) => Object.keys(labels)))
      spec.subsets.forEach(({ labels }, s) => {
        if (world.someEndpoint(host, labels)) return
        const path = ['subsets', s, 'labels']
        const strange = Object.keys(labels).find((key) => !known.has(key))
        if (strange === undefined) report('error', 'IST0173', path, `no endpoint of ${host} has these labels now`)
        else
          report(
            'error',
            'KIA0203',
            [...path, strange],
            `no endpoint of ${host} has the label "${strange}" now`,
            suggest(strange, known),
          )
      })
    },
  },
}
