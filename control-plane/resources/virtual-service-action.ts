import { checkFormat, isTransportHeader } from '../../src/match/format.ts'
import { compileReplace } from '../../src/match/regex.ts'
import { regexProblem } from './fields.ts'
import type { Report } from './kind.ts'
import { suggest } from './suggest.ts'
import type { HttpRoute } from './virtual-service.ts'

type Path = readonly (string | number)[]

/** gRPC codes by number. */
export const grpcCodes = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
] as const

const kinds = ['route', 'redirect', 'directResponse', 'delegate'] as const

/** What Istio refuses in one HTTPRoute: no action or several, and parts that contradict each other. */
export function checkAction(route: HttpRoute, isDelegate: boolean, path: Path, report: Report): void {
  const actions = kinds.filter((kind) => (kind === 'route' ? route.route.length > 0 : route[kind] !== undefined))
  if (actions.length === 0) report('error', [...path], 'needs one of route, redirect, directResponse, delegate')
  if (actions.length > 1)
    report('error', [...path, actions[1]!], `cannot stand beside ${actions[0]}: a rule has one action`)
  if (isDelegate && route.delegate !== undefined)
    report('error', [...path, 'delegate'], 'is not possible here: who has no hosts is delegated to, one level deep')
  for (const action of ['redirect', 'directResponse'] as const)
    for (const part of ['fault', 'rewrite'] as const)
      if (route[action] !== undefined && route[part] !== undefined)
        report('error', [...path, part], `cannot stand beside ${action}`)
  checkRedirect(route, path, report)
  checkRewrite(route, path, report)
  checkHeaders(route, path, report)
  checkFault(route, path, report)
  checkMirrors(route, path, report)
  if (route.corsPolicy !== undefined && route.corsPolicy.allowOrigin.length > 0)
    report('warning', [...path, 'corsPolicy', 'allowOrigin'], 'is an old spelling: use allowOrigins with exact')
}

function checkRedirect({ redirect }: HttpRoute, path: Path, report: Report): void {
  if (redirect === undefined) return
  const { uri, authority, scheme, port, derivePort } = redirect
  if ([uri, authority, scheme, port, derivePort].every((part) => part === undefined))
    report('error', [...path, 'redirect'], 'changes nothing: set one of uri, authority, scheme, port')
  if (port !== undefined && derivePort !== undefined)
    report('error', [...path, 'redirect', 'derivePort'], 'cannot stand beside port')
}

function checkRewrite(route: HttpRoute, path: Path, report: Report): void {
  const { rewrite } = route
  if (rewrite === undefined) return
  const at = [...path, 'rewrite']
  const { uri, authority, uriRegexRewrite: regex } = rewrite
  if (uri === undefined && authority === undefined && regex === undefined)
    report('error', at, 'changes nothing: set one of uri, authority, uriRegexRewrite')
  if (uri === '')
    report('error', [...at, 'uri'], 'is empty, which changes nothing in Istio: "/" takes the matched part out')
  if (uri !== undefined && regex !== undefined) report('error', [...at, 'uriRegexRewrite'], 'cannot stand beside uri')
  if (regex !== undefined) {
    const problem = regexProblem(regex.match)
    if (problem !== undefined) report('error', [...at, 'uriRegexRewrite', 'match'], problem)
    else {
      try {
        compileReplace(regex.match, regex.rewrite)
      } catch (error) {
        report('error', [...at, 'uriRegexRewrite', 'rewrite'], error instanceof Error ? error.message : String(error))
      }
      const group = /\$(\d)/.exec(regex.rewrite)?.[1]
      if (group !== undefined)
        report(
          'warning',
          [...at, 'uriRegexRewrite', 'rewrite'],
          `"$${group}" is sent as it is: groups are written \\${group}`,
        )
    }
  }
  if (
    uri === '/' &&
    route.match.some((m) => m.uri?.kind === 'prefix' && m.uri.value.length > 1 && !m.uri.value.endsWith('/'))
  )
    report('warning', [...at, 'uri'], 'makes "//x" of the path after a prefix that does not end with "/"')
}

/** Names of what a request is sent to; edits of them are rewrites of the authority. */
const authorityNames = ['host', ':authority'] as const

function checkHeaders(route: HttpRoute, path: Path, report: Report): void {
  const levels = [
    { headers: route.headers, at: [...path, 'headers'] },
    ...route.route.map(({ headers }, i) => ({ headers, at: [...path, 'route', i, 'headers'] })),
  ]
  for (const { headers, at } of levels) {
    for (const side of ['request', 'response'] as const) {
      const operations = headers?.[side]
      for (const [verb, values] of [
        ['set', operations?.set ?? {}],
        ['add', operations?.add ?? {}],
      ] as const)
        for (const [name, value] of Object.entries(values)) {
          const here = [...at, side, verb, name]
          const isAuthority = side === 'request' && (authorityNames as readonly string[]).includes(name)
          if (isAuthority && route.rewrite?.authority !== undefined)
            report('error', here, 'cannot stand beside rewrite.authority')
          if (!isAuthority && isTransportHeader(name))
            report('error', here, 'cannot be edited: it belongs to the connection')
          try {
            checkFormat(value)
          } catch (error) {
            report('error', here, error instanceof Error ? error.message : String(error))
          }
        }
      operations?.remove.forEach((name, i) => {
        if (isTransportHeader(name))
          report('error', [...at, side, 'remove', i], `${name} cannot be removed: it belongs to the connection`)
      })
    }
  }
}

function checkFault({ fault }: HttpRoute, path: Path, report: Report): void {
  if (fault === undefined) return
  const at = [...path, 'fault']
  if (fault.delay === undefined && fault.abort === undefined) report('error', at, 'needs delay or abort')
  const { delay, abort } = fault
  if (delay?.percent !== undefined && delay.percentage !== undefined)
    report('error', [...at, 'delay', 'percent'], 'cannot stand beside percentage')
  if (delay !== undefined && (delay.percentage ?? delay.percent) === undefined)
    report('warning', [...at, 'delay'], 'has no percentage, which means 0 %: nothing happens')
  if (abort === undefined) return
  if ((abort.httpStatus === undefined) === (abort.grpcStatus === undefined))
    report('error', [...at, 'abort'], 'needs one of httpStatus, grpcStatus')
  if (abort.grpcStatus !== undefined && !(grpcCodes as readonly string[]).includes(abort.grpcStatus))
    report(
      'error',
      [...at, 'abort', 'grpcStatus'],
      `"${abort.grpcStatus}" is not a gRPC code`,
      suggest(abort.grpcStatus.toUpperCase(), grpcCodes),
    )
  if (abort.percentage === undefined)
    report('warning', [...at, 'abort'], 'has no percentage, which means 0 %: nothing happens')
}

function checkMirrors(route: HttpRoute, path: Path, report: Report): void {
  if (route.mirror !== undefined && route.mirrors.length > 0)
    report('error', [...path, 'mirrors'], 'cannot stand beside mirror')
  if (route.mirrorPercentage !== undefined && (route.mirrorPercent ?? route.mirror_percent) !== undefined)
    report('warning', [...path, 'mirrorPercent'], 'has no effect beside mirrorPercentage')
  for (const share of ['mirrorPercentage', 'mirrorPercent'] as const)
    if (route[share] !== undefined && route.mirror === undefined)
      report('warning', [...path, share], 'has no effect without mirror')
  if (
    route.route.length === 0 &&
    (route.mirror !== undefined || route.mirrors.length > 0) &&
    route.delegate === undefined
  )
    report('error', [...path, route.mirror === undefined ? 'mirrors' : 'mirror'], 'needs a route')
}
