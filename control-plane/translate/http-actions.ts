import type { CorsSpec, FaultSpec, HeaderEdit, HeaderEdits, RedirectSpec, RewriteSpec } from '../../src/model/route.ts'
import type { HttpRoute } from '../resources/virtual-service.ts'
import { grpcCodes } from '../resources/virtual-service-action.ts'

/** Parts of Istio's HTTPRoute as the data plane's model has them. */

type Operations = NonNullable<HttpRoute['headers']>
const authorityNames: ReadonlySet<string> = new Set(['host', ':authority'])

/** Removes, sets, adds; what names the authority is a rewrite and left out (`authorityOf`). */
export function headerEdits(headers: Operations | undefined): HeaderEdits {
  return { request: sideEdits(headers?.request, true), response: sideEdits(headers?.response, false) }
}

function sideEdits(operations: Operations['request'], isRequest: boolean): HeaderEdit[] {
  if (operations === undefined) return []
  const edit = (kind: 'set' | 'append', values: Readonly<Record<string, string>>): HeaderEdit[] =>
    Object.entries(values)
      .filter(([name]) => !isRequest || !authorityNames.has(name))
      .map(([name, value]) => ({ kind, name, value, keepEmpty: false }))
  return [
    ...operations.remove.map((name): HeaderEdit => ({ kind: 'remove', name })),
    ...edit('set', operations.set),
    ...edit('append', operations.add),
  ]
}

/** One level after another; null = nothing. */
export function joinEdits(...levels: readonly HeaderEdits[]): HeaderEdits | null {
  const request = levels.flatMap((level) => level.request)
  const response = levels.flatMap((level) => level.response)
  return request.length + response.length === 0 ? null : { request, response }
}

/** A rewrite of the authority that is written as a header; `set` comes before `add`. */
export function authorityOf(headers: Operations | undefined): string | undefined {
  const operations = headers?.request
  if (operations === undefined) return undefined
  for (const values of [operations.set, operations.add])
    for (const name of authorityNames) if (values[name] !== undefined) return values[name]
  return undefined
}

/** null = nothing is rewritten. */
export function rewriteOf({ rewrite, headers }: HttpRoute): RewriteSpec | null {
  const authority = rewrite?.authority ?? authorityOf(headers) ?? null
  const path: RewriteSpec['path'] =
    rewrite?.uri !== undefined
      ? { kind: 'prefix', value: rewrite.uri }
      : rewrite?.uriRegexRewrite !== undefined
        ? {
            kind: 'regex',
            pattern: rewrite.uriRegexRewrite.match,
            substitution: rewrite.uriRegexRewrite.rewrite,
          }
        : null
  return path === null && authority === null ? null : { path, authority }
}

/** @param port that was dialled */
export function redirectOf(redirect: NonNullable<HttpRoute['redirect']>, port: number): RedirectSpec {
  const scheme = redirect.scheme ?? null
  const standard = scheme === 'https' ? 443 : 80
  const { derivePort } = redirect
  const derived = derivePort === undefined ? null : derivePort === 'FROM_REQUEST_PORT' ? port : standard
  return {
    // The schema takes no other.
    status: redirect.redirectCode as RedirectSpec['status'],
    scheme,
    host: redirect.authority ?? null,
    port: redirect.port ?? derived,
    path: redirect.uri === undefined || redirect.uri === '' ? null : { kind: 'full', value: redirect.uri },
    stripQuery: false,
  }
}

const millionths = (percent: number) => Math.round(percent * 10_000)

/** null = nothing would ever happen. */
export function faultOf(fault: HttpRoute['fault']): FaultSpec | null {
  if (fault === undefined) return null
  const delayShare = millionths(fault.delay?.percentage ?? fault.delay?.percent ?? 0)
  const abortShare = millionths(fault.abort?.percentage ?? 0)
  const { httpStatus, grpcStatus = '' } = fault.abort ?? {}
  const code = (grpcCodes as readonly string[]).indexOf(grpcStatus)
  const delay =
    fault.delay === undefined || delayShare === 0 ? null : { ms: fault.delay.fixedDelay, perMillion: delayShare }
  const abort: FaultSpec['abort'] =
    fault.abort === undefined || abortShare === 0
      ? null
      : {
          perMillion: abortShare,
          how: httpStatus === undefined ? { kind: 'grpc', code } : { kind: 'http', status: httpStatus },
        }
  return delay === null && abort === null ? null : { delay, abort, headers: [], maxActive: Number.POSITIVE_INFINITY }
}

export function corsOf(cors: HttpRoute['corsPolicy']): CorsSpec | null {
  if (cors === undefined) return null
  const exact = cors.allowOrigin.map((value) =>
    value === '*' ? ({ kind: 'regex', value: '.*' } as const) : ({ kind: 'exact', value, ignoreCase: false } as const),
  )
  return {
    allowOrigins: [...cors.allowOrigins, ...exact],
    allowMethods: cors.allowMethods.join(','),
    allowHeaders: cors.allowHeaders.join(','),
    exposeHeaders: cors.exposeHeaders.join(','),
    maxAge: cors.maxAge === undefined ? '' : String(cors.maxAge / 1000),
    allowCredentials: cors.allowCredentials ?? false,
    forwardUnmatchedPreflights: cors.unmatchedPreflights !== 'IGNORE',
  }
}

/** Mirrors with their shares in millionths; those of 0 % are none. */
export function mirrorsOf(
  http: HttpRoute,
): readonly { readonly destination: NonNullable<HttpRoute['mirror']>; readonly perMillion: number }[] {
  const share = http.mirrorPercentage ?? http.mirrorPercent ?? http.mirror_percent
  const all = [...(http.mirror === undefined ? [] : [{ destination: http.mirror, percentage: share }]), ...http.mirrors]
  return all
    .map(({ destination, percentage = 100 }) => ({ destination, perMillion: millionths(percentage) }))
    .filter(({ perMillion }) => perMillion > 0)
}
