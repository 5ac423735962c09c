import { servicePolicyDefaults } from '../resources/service-policy.ts'
import type { Analyzer } from './analyzer.ts'

const CODE = 'INM0103'

/** The method gate is what keeps a retry from charging a card twice. */
export const unsafeRetries: Analyzer = {
  codes: { [CODE]: 'retryNonIdempotent lets retries repeat requests that may have been processed' },
  checks: {
    ServicePolicy({ spec, namespace, report }, world) {
      if (spec.retryNonIdempotent !== true) return
      const host = world.host(spec.service, namespace)
      const own = spec.retryAttempts ?? servicePolicyDefaults.retryAttempts
      const routes = world
        .virtualServicesOf(host)
        .flatMap((rule) => rule.spec.http)
        .some(({ retries }) => (retries?.attempts ?? 0) > 0)
      if (own === 0 && !routes) return
      const message = 'POST and PATCH are repeated though they may have been processed: send an Idempotency-Key instead'
      report('warning', CODE, ['retryNonIdempotent'], message)
    },
  },
}
