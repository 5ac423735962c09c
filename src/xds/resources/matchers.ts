import type { HeaderMatcher, QueryParameterMatcher } from '../../gen/envoy/config/route/v3/route_components_pb.js'
import type { RegexMatcher } from '../../gen/envoy/type/matcher/v3/regex_pb.js'
import type { StringMatcher } from '../../gen/envoy/type/matcher/v3/string_pb.js'
import { compileRegex } from '../../match/regex.ts'
import type { HeaderMatch, StringMatch } from '../../model/match.ts'
import type { QueryMatch } from '../../model/route.ts'
import type { Field } from './field.ts'

/** envoy.type.matcher.v3.StringMatcher. Only `exact` may be empty: any other empty pattern matches everything. */
export function stringMatch(field: Field, matcher: StringMatcher | undefined): StringMatch {
  const pattern = matcher?.matchPattern
  switch (pattern?.case) {
    case 'exact':
      return { kind: 'exact', value: pattern.value, ignoreCase: matcher?.ignoreCase ?? false }
    case 'prefix':
    case 'suffix':
    case 'contains':
      if (pattern.value === '') field.at(pattern.case).fail('must not be empty')
      return { kind: pattern.case, value: pattern.value, ignoreCase: matcher?.ignoreCase ?? false }
    case 'safeRegex':
      return { kind: 'regex', value: regex(field.at('safe_regex'), pattern.value) }
    case 'custom':
      return field.at('custom').fail('not supported')
    default:
      return field.fail('is missing a pattern')
  }
}

/** RE2 syntax, checked here so that nothing fails when requests come. */
export function regex(field: Field, matcher: RegexMatcher): string {
  if (matcher.regex === '') field.at('regex').fail('must not be empty')
  try {
    compileRegex(matcher.regex)
  } catch (error) {
    field.at('regex').fail(error instanceof Error ? error.message : String(error))
  }
  return matcher.regex
}

const requestLine = new Set([':method', ':authority', ':path'])

/** envoy.config.route.v3.HeaderMatcher; without a specifier it asks for presence. */
export function headerMatch(field: Field, matcher: HeaderMatcher): HeaderMatch {
  const name = matcher.name.toLowerCase()
  if (name === '') field.at('name').fail('is missing')
  if (name.startsWith(':') && !requestLine.has(name)) field.at('name').fail(`"${name}" cannot be matched`)
  const base = { name, invert: matcher.invertMatch, missingAsEmpty: matcher.treatMissingHeaderAsEmpty }
  const text = (match: StringMatch): HeaderMatch => ({ ...base, kind: 'string', match })
  const specifier = matcher.headerMatchSpecifier
  switch (specifier.case) {
    case undefined:
      return { ...base, kind: 'present', present: true }
    case 'presentMatch':
      return { ...base, kind: 'present', present: specifier.value }
    case 'rangeMatch':
      return { ...base, kind: 'range', start: Number(specifier.value.start), end: Number(specifier.value.end) }
    case 'stringMatch':
      return text(stringMatch(field.at('string_match'), specifier.value))
    case 'exactMatch':
      return text({ kind: 'exact', value: specifier.value, ignoreCase: false })
    case 'prefixMatch':
      return text(plain(field.at('prefix_match'), 'prefix', specifier.value))
    case 'suffixMatch':
      return text(plain(field.at('suffix_match'), 'suffix', specifier.value))
    case 'containsMatch':
      return text(plain(field.at('contains_match'), 'contains', specifier.value))
    case 'safeRegexMatch':
      return text({ kind: 'regex', value: regex(field.at('safe_regex_match'), specifier.value) })
  }
}

/** The deprecated spellings without a StringMatcher. */
function plain(field: Field, kind: 'prefix' | 'suffix' | 'contains', value: string): StringMatch {
  if (value === '') field.fail('must not be empty')
  return { kind, value, ignoreCase: false }
}

/** envoy.config.route.v3.QueryParameterMatcher; without a specifier it asks for presence. */
export function queryMatch(field: Field, matcher: QueryParameterMatcher): QueryMatch {
  const { name } = matcher
  if (name === '') field.at('name').fail('is missing')
  const specifier = matcher.queryParameterMatchSpecifier
  switch (specifier.case) {
    case 'stringMatch':
      return { name, kind: 'string', match: stringMatch(field.at('string_match'), specifier.value) }
    default:
      return { name, kind: 'present', present: specifier.value ?? true }
  }
}
