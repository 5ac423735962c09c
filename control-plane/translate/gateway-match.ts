import { conditionsByName } from '../resources/gateway-api.ts'
import type { GrpcRouteMatch } from '../resources/grpc-route.ts'
import type { HttpRouteMatch } from '../resources/http-route.ts'
import { quoteRegex, wholeRegex } from '../resources/patterns.ts'
import type { MatchPlan } from './route-plan.ts'

/** A match with its place among all matches of all routes of a Service: larger numbers come first, the first number counts most. */
export interface RankedMatch {
  readonly plan: MatchPlan
  readonly rank: readonly number[]
}

/** Exact paths, then the longest prefix, then regular expressions (as in Istio); method; headers; query parameters. */
const pathRanks = { Exact: 3, PathPrefix: 2, RegularExpression: 1 } as const

export function rankedHttpMatch({ path, method, headers, queryParams }: HttpRouteMatch): RankedMatch {
  const conditions = conditionsByName(headers)
  const query = conditionsByName(queryParams)
  // "/foo/" and "/foo" are the same prefix, and "/" is every path.
  const value = path.type === 'PathPrefix' ? withoutTrailingSlash(path.value) : path.value
  return {
    plan: {
      ...(value === '' ? {} : { uri: pathCondition(path.type, value) }),
      ...(method === undefined ? {} : { method: { kind: 'exact', value: method, ignoreCase: false } }),
      ...{ ignoreUriCase: false, headers: conditions, withoutHeaders: {}, queryParams: query },
    },
    rank: [
      ...[pathRanks[path.type], value.length, method === undefined ? 0 : 1],
      ...[Object.keys(conditions).length, Object.keys(query).length],
    ],
  }
}

export function withoutTrailingSlash(path: string): string {
  return path.replace(/\/+$/, '')
}

function pathCondition(type: HttpRouteMatch['path']['type'], value: string): MatchPlan['uri'] {
  if (type === 'Exact') return { kind: 'exact', value, ignoreCase: false }
  return type === 'PathPrefix' ? { kind: 'segments', value } : { kind: 'regex', value }
}

/** Most characters in the service, then in the method, then most headers. A gRPC path is "/service/method". */
export function rankedGrpcMatch({ method, headers }: GrpcRouteMatch): RankedMatch {
  const conditions = conditionsByName(headers)
  const uri = method === undefined ? undefined : grpcPath(method)
  return {
    plan: {
      ...(uri === undefined ? {} : { uri }),
      ...{ ignoreUriCase: false, headers: conditions, withoutHeaders: {}, queryParams: {} },
    },
    rank: [method?.service?.length ?? 0, method?.method?.length ?? 0, Object.keys(conditions).length],
  }
}

function grpcPath({ type, service, method }: NonNullable<GrpcRouteMatch['method']>): MatchPlan['uri'] {
  if (type === 'Exact' && service !== undefined)
    return method === undefined
      ? { kind: 'prefix', value: `/${service}/`, ignoreCase: false }
      : { kind: 'exact', value: `/${service}/${method}`, ignoreCase: false }
  const part = (text: string | undefined) =>
    text === undefined ? '[^/]+' : type === 'Exact' ? quoteRegex(text) : wholeRegex(text)
  return { kind: 'regex', value: `/${part(service)}/${part(method)}` }
}

/** For sorting: the match that comes first is smaller. */
export function compareRanks(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, i) => value !== b[i])
  return at < 0 ? 0 : b[at]! - a[at]!
}
