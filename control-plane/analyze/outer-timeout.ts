import type { HttpRoute } from '../resources/virtual-service.ts'
import { serviceHost } from '../translate/hosts.ts'
import type { Analyzer } from './analyzer.ts'
import type { World } from './world.ts'

const CODE = 'INM0105'

/**
 * A service that is given less time than one of the calls that it makes: its caller has gone before the answer comes. Who
 * calls whom shows only where rules ask for their caller (sourceLabels, TrafficSplit.sourceService).
 */
export const outerTimeout: Analyzer = {
  codes: { [CODE]: 'a service has less time for an answer than for a call that it makes meanwhile' },
  checks: {
    VirtualService({ spec, namespace, report }, world) {
      spec.http.forEach((rule, r) => {
        if (rule.timeout === undefined || rule.timeout === 0) return
        for (const { service, home } of callersOf(rule, namespace)) {
          const outer = shortestTimeout(world, serviceHost(service, home, world.settings.domain))
          if (outer === undefined || outer.ms >= rule.timeout) continue
          const message = `${service} waits up to ${rule.timeout} ms here, and has only ${outer.ms} ms for its own answer (${outer.by})`
          report('warning', CODE, ['http', r, 'timeout'], message)
        }
      })
    },
    TrafficSplit({ spec, namespace, report }, world) {
      if (spec.sourceService === undefined) return
      const inner = shortestTimeout(world, world.host(spec.destinationService, namespace))
      const outer = shortestTimeout(world, world.host(spec.sourceService, namespace))
      if (inner === undefined || outer === undefined || outer.ms >= inner.ms) return
      const message = `waits up to ${inner.ms} ms for ${spec.destinationService} (${inner.by}), and has only ${outer.ms} ms for its own answer (${outer.by})`
      report('warning', CODE, ['sourceService'], message)
    },
  },
}

/** Services whose calls alone match: the label "app" is the service's name. */
function callersOf({ match }: HttpRoute, namespace: string): { service: string; home: string }[] {
  const callers = new Map<string, { service: string; home: string }>()
  for (const { sourceLabels, sourceNamespace: home = namespace } of match)
    if (sourceLabels.app !== undefined) callers.set(`${sourceLabels.app}.${home}`, { service: sourceLabels.app, home })
  return [...callers.values()]
}

/** Of the rules that speak about a timeout of calls to this host. */
function shortestTimeout(world: World, host: string): { ms: number; by: string } | undefined {
  const said = [
    ...world
      .virtualServicesOf(host)
      .flatMap(({ spec, name }) => spec.http.map(({ timeout }) => ({ ms: timeout, by: name }))),
    ...world.servicePoliciesOf(host).map(({ spec, name }) => ({ ms: spec.timeoutMs, by: name })),
  ]
  return said.flatMap(({ ms, by }) => (ms === undefined || ms === 0 ? [] : [{ ms, by }])).sort((a, b) => a.ms - b.ms)[0]
}
