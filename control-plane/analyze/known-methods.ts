import { suggest } from '../resources/suggest.ts'
import type { Analyzer } from './analyzer.ts'

const CODE = 'KIA0102'

/** RFC 9110, RFC 5789 and WebDAV. */
const methods = new Set([
  ...['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH', 'QUERY'],
  ...['PROPFIND', 'PROPPATCH', 'MKCOL', 'COPY', 'MOVE', 'LOCK', 'UNLOCK', 'REPORT', 'SEARCH', 'PURGE'],
])

/** An ALLOW rule for a method that nobody sends allows nothing, a DENY rule denies nothing. */
export const knownMethods: Analyzer = {
  codes: { [CODE]: 'a policy names something that is not an HTTP method' },
  onApply: 'warns',
  checks: {
    AuthorizationPolicy({ spec, report }) {
      spec.rules.forEach((rule, r) => {
        rule.to?.forEach(({ operation }, t) => {
          for (const field of ['methods', 'notMethods'] as const)
            operation[field]?.forEach((value, i) => {
              // A star stands for any text; what has one in the middle is told elsewhere.
              if (value.includes('*') || methods.has(value)) return
              const path = ['rules', r, 'to', t, 'operation', field, i]
              if (value !== value.toUpperCase())
                report('warning', CODE, path, `"${value}" never matches: methods are upper case`)
              else
                report('warning', CODE, path, `"${value}" is not a method that clients send`, suggest(value, methods))
            })
        })
      })
    },
  },
}
