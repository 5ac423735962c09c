import type { Analyzer } from './analyzer.ts'

const CODE = 'INM0104'

export const triesInTime: Analyzer = {
  codes: { [CODE]: 'not all tries fit into the timeout of the route' },
  checks: {
    VirtualService({ spec, namespace, report }, world) {
      spec.http.forEach(({ retries, timeout, route }, r) => {
        const { attempts = 0, perTryTimeout } = retries ?? {}
        const host = route[0] === undefined ? undefined : world.host(route[0].destination.host, namespace)
        const limit =
          timeout ?? (host === undefined ? undefined : world.servicePoliciesOf(host)[0]?.spec.timeoutMs) ?? 0
        if (attempts === 0 || perTryTimeout === undefined || limit === 0) return
        // One that is not shorter than the timeout is told anyway.
        if (perTryTimeout >= limit || perTryTimeout * (attempts + 1) <= limit) return
        const fit = Math.ceil(limit / perTryTimeout)
        const message = `${attempts + 1} tries of ${perTryTimeout} ms do not fit into ${limit} ms: of those that time out there are at most ${fit}`
        report('warning', CODE, ['http', r, 'retries', 'perTryTimeout'], message)
      })
    },
  },
}
