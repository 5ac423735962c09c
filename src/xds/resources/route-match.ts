import { RouteMatchSchema, type RouteMatch as Wire } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { HeaderMatch } from '../../model/match.ts'
import type { PathMatch, RouteMatch } from '../../model/route.ts'
import { snake } from './config-source.ts'
import { type Field, names } from './field.ts'
import { headerMatch, queryMatch, regex } from './matchers.ts'
import { perMillion } from './percent.ts'

const fields = names(`prefix path safe_regex path_separated_prefix case_sensitive runtime_fraction headers
  query_parameters grpc`)

/** envoy.config.route.v3.RouteMatch. What would narrow the match and is not known refuses the resource. */
export function routeMatch(field: Field, match: Wire | undefined): RouteMatch {
  if (match === undefined) return field.fail('is missing')
  for (const name of ['tls_context', 'dynamic_metadata', 'connect_matcher', 'path_match_policy'] as const)
    if (isSet(match, name)) field.at(name).fail('not supported')
  field.onlyReads(RouteMatchSchema, match, fields)
  const headers = field.at('headers').map(match.headers, (h, at) => headerMatch(at, h))
  if (match.grpc !== undefined) headers.push(grpcOnly)
  const fraction = match.runtimeFraction?.defaultValue
  return {
    path: pathMatch(field, match),
    headers,
    query: field.at('query_parameters').map(match.queryParameters, (q, at) => queryMatch(at, q)),
    fractionPerMillion:
      fraction === undefined ? null : perMillion(field.at('runtime_fraction.default_value'), fraction),
  }
}

/** RouteMatch.grpc: requests whose content-type is gRPC's. */
const grpcOnly: HeaderMatch = {
  name: 'content-type',
  invert: false,
  missingAsEmpty: false,
  kind: 'string',
  match: { kind: 'regex', value: 'application/grpc([+;].*)?' },
}

function isSet(match: Wire, name: string): boolean {
  switch (name) {
    case 'tls_context':
      return match.tlsContext !== undefined
    case 'dynamic_metadata':
      return match.dynamicMetadata.length > 0
    default:
      return match.pathSpecifier.case !== undefined && snake(match.pathSpecifier.case) === name
  }
}

function pathMatch(field: Field, match: Wire): PathMatch {
  const ignoreCase = match.caseSensitive === false
  const specifier = match.pathSpecifier
  switch (specifier.case) {
    case 'prefix':
      return { kind: 'prefix', value: specifier.value, ignoreCase }
    case 'path':
      return { kind: 'exact', value: specifier.value, ignoreCase }
    case 'safeRegex':
      return { kind: 'regex', value: regex(field.at('safe_regex'), specifier.value) }
    case 'pathSeparatedPrefix':
      return separatedPrefix(field.at('path_separated_prefix'), specifier.value, ignoreCase)
    default:
      return field.fail('needs one of prefix, path, safe_regex, path_separated_prefix')
  }
}

/** Whole segments (Gateway API's PathPrefix): "/api" matches "/api" and "/api/v1", not "/apis". */
function separatedPrefix(field: Field, prefix: string, ignoreCase: boolean): PathMatch {
  if (!/^\/[^?#]*[^?#/]$/.test(prefix))
    field.fail(`"${prefix}" must start with "/", not end with it, and have no "?" or "#"`)
  return { kind: 'segments', value: prefix, ignoreCase }
}
