import { describeHeader, describePath, describeQuery } from '../match/describe.ts'
import { compileHeaderValue } from '../match/header.ts'
import { always, compilePath } from '../match/path.ts'
import { compileString } from '../match/string.ts'
import type { Random } from '../model/clock.ts'
import type { HeaderMatch } from '../model/match.ts'
import type { QueryMatch, RouteMatch } from '../model/route.ts'
import type { RequestView } from './exchange.ts'
import { below } from './random.ts'
import { shared } from './shared.ts'

/** `path` = the view's path without query. */
export type MatchTest = (view: RequestView, path: string, random: Random) => boolean

/** The conditions of a rule: one function for calls, and each by itself for explain. Both run the same tests. */
export interface CompiledMatch {
  readonly matches: MatchTest
  /** All but the share, in the order in which `matches` asks them. */
  conditions(): readonly Condition[]
}

export interface Condition {
  /** What is asked for, in words. */
  readonly expected: string
  holds(view: RequestView, path: string): boolean
  /** What the request has there; undefined = nothing. */
  found(view: RequestView, path: string): string | undefined
}

export const compileMatch: (match: RouteMatch) => CompiledMatch = shared((match) => {
  const path = compilePath(match.path)
  const headers = match.headers.map(compileHeader)
  const queries = match.query.map(compileQuery)
  return {
    matches: allOf(path, headers, queries, match.fractionPerMillion),
    conditions: () => [
      { expected: describePath(match.path), holds: (_view, text) => path(text), found: (_view, text) => text },
      ...match.headers.map((spec, i) => ({
        expected: describeHeader(spec),
        holds: headers[i]!,
        found: (view: RequestView) => pseudo(view, spec.name),
      })),
      ...match.query.map((spec, i) => ({
        expected: describeQuery(spec),
        holds: (view: RequestView, text: string) => queries[i]!(view.path, text.length + 1),
        found: (view: RequestView, text: string) => firstValue(view.path, text.length + 1, spec.name),
      })),
    ],
  }
})

function allOf(
  path: (text: string) => boolean,
  headers: readonly ((view: RequestView) => boolean)[],
  queries: readonly ((path: string, from: number) => boolean)[],
  fraction: number | null,
): MatchTest {
  if (headers.length === 0 && queries.length === 0 && fraction === null)
    return path === always ? always : (_view, text) => path(text)
  return (view, text, random) => {
    if (!path(text)) return false
    for (const test of headers) if (!test(view)) return false
    for (const test of queries) if (!test(view.path, text.length + 1)) return false
    return fraction === null || below(random, 1_000_000) < fraction
  }
}

/** `:method` and the like name parts of the request line. */
export function compileHeader(match: HeaderMatch): (view: RequestView) => boolean {
  const { name } = match
  const test = compileHeaderValue(match)
  return name.startsWith(':') ? (view) => test(pseudo(view, name)) : (view) => test(view.header(name))
}

export function pseudo(view: RequestView, name: string): string | undefined {
  switch (name) {
    case ':method':
      return view.method
    case ':authority':
      return view.authority
    case ':path':
      return view.path
    case ':scheme':
      return 'http'
    default:
      return view.header(name)
  }
}

/** Only the first value of a parameter counts; nothing is URL-decoded (Envoy QueryParameterMatcher). */
function compileQuery(match: QueryMatch): (path: string, from: number) => boolean {
  const test = match.kind === 'string' ? compileString(match.match) : null
  const present = match.kind === 'present' ? match.present : true
  return (path, from) => {
    const value = firstValue(path, from, match.name)
    if (test === null) return (value !== undefined) === present
    return value !== undefined && test(value)
  }
}

/** The first value of a query parameter, as it stands there. @param from where the query of `path` begins, after its `?` */
export function firstValue(path: string, from: number, name: string): string | undefined {
  // What follows the path may be a fragment.
  if (path.charCodeAt(from - 1) !== 0x3f) return undefined
  const fragment = path.indexOf('#', from)
  const length = fragment < 0 ? path.length : fragment
  for (let start = from; start < length; ) {
    let end = path.indexOf('&', start)
    if (end < 0 || end > length) end = length
    const after = start + name.length
    if (after <= end && path.startsWith(name, start)) {
      if (after === end) return ''
      if (path[after] === '=') return path.slice(after + 1, end)
    }
    start = end + 1
  }
  return undefined
}

/** Where the query or a fragment begins; the length when there is none. */
export function endOfPath(path: string): number {
  for (let i = 0; i < path.length; i++) {
    const c = path.charCodeAt(i)
    if (c === 0x3f || c === 0x23) return i
  }
  return path.length
}
