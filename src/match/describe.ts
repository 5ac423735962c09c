import type { HeaderMatch, StringMatch } from '../model/match.ts'
import type { PathMatch, QueryMatch } from '../model/route.ts'

// Matchers in words, for explain: "begins with "/charge"". Never asked on the way of a request.

export function describeString(match: StringMatch): string {
  const value = JSON.stringify(match.value)
  if (match.kind === 'regex') return `matches the regex ${value}`
  return `${verbs[match.kind]} ${value}${match.ignoreCase ? ' (case does not count)' : ''}`
}

export function describePath(match: PathMatch): string {
  if (match.kind !== 'segments') return `path ${describeString(match)}`
  const note = match.ignoreCase ? ' (case does not count)' : ''
  return `path is ${JSON.stringify(match.value)} or below it${note}`
}

export function describeHeader(match: HeaderMatch): string {
  const name = headerNames[match.name] ?? `header ${match.name}`
  if (match.kind === 'present') return `${name} ${match.present === match.invert ? 'is absent' : 'is there'}`
  const test =
    match.kind === 'string' ? describeString(match.match) : `is a number from ${match.start} to ${match.end - 1}`
  return match.invert ? `not: ${name} ${test}` : `${name} ${test}`
}

export function describeQuery(match: QueryMatch): string {
  const name = `query parameter ${match.name}`
  if (match.kind === 'present') return `${name} ${match.present ? 'is there' : 'is absent'}`
  return `${name} ${describeString(match.match)}`
}

const verbs = { exact: 'is', prefix: 'begins with', suffix: 'ends with', contains: 'contains' } as const

const headerNames: Readonly<Record<string, string>> = {
  ':method': 'method',
  ':authority': 'authority',
  ':path': 'path with query',
  ':scheme': 'scheme',
}
