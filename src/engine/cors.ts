import { compileString } from '../match/string.ts'
import type { CorsSpec } from '../model/route.ts'
import type { RequestView } from './exchange.ts'
import type { FormatView, ResponseHeaders } from './format.ts'
import { Rejection } from './rejection.ts'
import type { ResponseEdits } from './route.ts'
import { shared } from './shared.ts'

/** Cross-origin rules of a route, compiled (Envoy CorsPolicy). */
export interface Cors {
  /** The answer to a preflight; null = it is none, or goes to the peer. */
  preflight(view: RequestView): Rejection | null
  /** What answers to the actual requests say, whoever made them. */
  readonly response: ResponseEdits
}

const ALLOW_ORIGIN = 'access-control-allow-origin'
const ALLOW_CREDENTIALS = 'access-control-allow-credentials'
const EXPOSE_HEADERS = 'access-control-expose-headers'

/** @throws InmeshError ERR_INMESH_INVALID_OPTION for an origin's regex that cannot be used */
export const compileCors: (spec: CorsSpec) => Cors = shared((spec) => {
  const origins = spec.allowOrigins.map(compileString)
  const any = spec.allowOrigins.some((origin) => origin.kind === 'exact' && origin.value === '*')
  const allowed = (origin: string) => any || origins.some((test) => test(origin))
  return {
    preflight(view) {
      if (view.method !== 'OPTIONS') return null
      const origin = view.header('origin') ?? ''
      if (origin === '' || (view.header('access-control-request-method') ?? '') === '') return null
      if (allowed(origin)) return reply(preflightHeaders(spec, view, origin))
      return spec.forwardUnmatchedPreflights ? null : reply([])
    },
    response: {
      names: [ALLOW_ORIGIN, ALLOW_CREDENTIALS, EXPOSE_HEADERS],
      apply(headers: ResponseHeaders, { request }: FormatView) {
        const origin = request.header('origin') ?? ''
        if (origin === '' || !allowed(origin)) return false
        headers[ALLOW_ORIGIN] = origin
        if (spec.allowCredentials) headers[ALLOW_CREDENTIALS] = 'true'
        if (spec.exposeHeaders !== '') headers[EXPOSE_HEADERS] = spec.exposeHeaders
        return true
      },
    },
  }
})

function preflightHeaders(spec: CorsSpec, view: RequestView, origin: string): string[] {
  const headers = [ALLOW_ORIGIN, origin]
  if (spec.allowCredentials) headers.push(ALLOW_CREDENTIALS, 'true')
  // Browsers take no star for a request with credentials: what was asked for is said back.
  const said = (name: string, value: string, asked: string) => {
    const text = value === '*' ? (view.header(asked) ?? '') : value
    if (text !== '') headers.push(name, text)
  }
  said('access-control-allow-methods', spec.allowMethods, 'access-control-request-method')
  said('access-control-allow-headers', spec.allowHeaders, 'access-control-request-headers')
  if (spec.maxAge !== '') headers.push('access-control-max-age', spec.maxAge)
  return headers
}

function reply(headers: readonly string[]): Rejection {
  return new Rejection({ status: 200, grpcStatus: 0, flag: '-', details: 'cors_response', body: '', headers })
}

/** Both, one after the other; null = neither. */
export function joinResponseEdits(first: ResponseEdits | null, second: ResponseEdits | null): ResponseEdits | null {
  if (first === null || second === null) return first ?? second
  return {
    names: [...new Set([...first.names, ...second.names])],
    apply(headers, view) {
      const changed = first.apply(headers, view)
      return second.apply(headers, view) || changed
    },
  }
}
