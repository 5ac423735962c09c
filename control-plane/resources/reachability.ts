import { compileString } from '../../src/match/string.ts'
import type { StringMatch } from '../../src/model/match.ts'
import { type Report, withCode } from './kind.ts'
import type { HttpMatch, HttpRoute } from './virtual-service.ts'

/** Rules and conditions of a VirtualService that no call gets to (Istio's IST0130 and IST0131). */
export function checkReach(rules: readonly HttpRoute[], report: Report): void {
  const unreachable = withCode(report, 'IST0130')
  const ineffective = withCode(report, 'IST0131')
  // What a rule delegates may come back without a match.
  const decides = rules.map((rule) => rule.delegate === undefined)
  const last = rules.findIndex((rule, r) => decides[r] && (rule.match.length === 0 || rule.match.some(isCatchAll)))
  if (last >= 0 && last < rules.length - 1)
    unreachable('warning', ['http', last + 1], `is never reached: http[${last}] matches everything`)
  const earlier: { readonly match: HttpMatch; readonly name: string }[] = []
  rules.slice(0, last < 0 ? rules.length : last + 1).forEach((rule, r) => {
    rule.match.forEach((match, m) => {
      const before = [...earlier, ...rule.match.slice(0, m).map((other, o) => ({ match: other, name: `match[${o}]` }))]
      const cover = before.find((other) => covers(other.match, match))
      if (cover !== undefined) {
        const all = isCatchAll(cover.match) ? 'everything' : 'all that this does'
        const say = rule.match.length === 1 ? unreachable : ineffective
        say('warning', ['http', r, 'match', m], `is never reached: ${cover.name} matches ${all}`)
        return
      }
      if (match.scheme !== undefined && !compileString(match.scheme)('http'))
        ineffective('warning', ['http', r, 'match', m, 'scheme'], 'never matches: calls inside the mesh are http')
      const { uri } = match
      // "OPTIONS *" has no slash, an absolute form none that counts.
      if (
        uri !== undefined &&
        uri.kind !== 'regex' &&
        !/^(?:\/|\*$)/.test(uri.value) &&
        (uri.kind === 'exact' || uri.value !== '')
      )
        ineffective('warning', ['http', r, 'match', m, 'uri', uri.kind], 'never matches: paths begin with "/"')
      if (uri !== undefined && uri.kind !== 'regex' && /[?#]/.test(uri.value))
        ineffective(
          'warning',
          ['http', r, 'match', m, 'uri', uri.kind],
          'never matches: the query is not compared, use queryParams',
        )
    })
    if (decides[r]) earlier.push(...rule.match.map((match, m) => ({ match, name: `http[${r}].match[${m}]` })))
  })
}

/** Matches whatever comes (Istio: prefix "/" or regex ".*" and nothing else). */
export function isCatchAll(match: HttpMatch): boolean {
  const { uri } = match
  const anyPath =
    uri === undefined || (uri.kind === 'prefix' && uri.value === '/') || (uri.kind === 'regex' && uri.value === '.*')
  return (
    anyPath &&
    match.method === undefined &&
    match.scheme === undefined &&
    match.authority === undefined &&
    match.port === undefined &&
    match.sourceNamespace === undefined &&
    match.gateways === undefined &&
    [match.headers, match.withoutHeaders, match.queryParams, match.sourceLabels].every(
      (conditions) => Object.keys(conditions).length === 0,
    )
  )
}

/** Whether every call that `b` matches is matched by `a`, as far as that shows without solving regular expressions. */
function covers(a: HttpMatch, b: HttpMatch): boolean {
  return (
    coversPath(a, b) &&
    coversText(a.method, b.method) &&
    coversText(a.authority, b.authority) &&
    coversText(a.scheme, b.scheme) &&
    coversTable(a.headers, b.headers, coversText) &&
    // What is excluded by `a` must be excluded by `b`.
    coversTable(a.withoutHeaders, b.withoutHeaders, (excluded, other) => coversText(other, excluded)) &&
    coversTable(a.queryParams, b.queryParams, coversText) &&
    (a.port === undefined || a.port === b.port) &&
    (a.sourceNamespace === undefined || a.sourceNamespace === b.sourceNamespace) &&
    (a.gateways === undefined || a.gateways.includes('mesh') === (b.gateways ?? ['mesh']).includes('mesh')) &&
    Object.entries(a.sourceLabels).every(([name, value]) => b.sourceLabels[name] === value)
  )
}

function coversPath(a: HttpMatch, b: HttpMatch): boolean {
  const withCase = (match: HttpMatch) =>
    match.uri !== undefined && match.uri.kind !== 'regex' && match.ignoreUriCase
      ? { ...match.uri, ignoreCase: true }
      : match.uri
  // Paths begin with a slash.
  if (a.uri?.kind === 'prefix' && (a.uri.value === '/' || a.uri.value === '')) return true
  return coversText(withCase(a), withCase(b))
}

type Condition = StringMatch | 'present' | undefined

function coversTable(
  a: Readonly<Record<string, Condition>>,
  b: Readonly<Record<string, Condition>>,
  covering: (a: Condition, b: Condition) => boolean,
): boolean {
  return Object.entries(a).every(([name, condition]) => b[name] !== undefined && covering(condition, b[name]))
}

function coversText(a: Condition, b: Condition): boolean {
  if (a === undefined) return true
  if (b === undefined) return false
  if (a === 'present') return true
  if (b === 'present') return false
  if (a.kind === 'regex')
    return b.kind === 'regex' ? a.value === b.value : b.kind === 'exact' && !b.ignoreCase && compileString(a)(b.value)
  if (b.kind === 'regex' || (b.ignoreCase && !a.ignoreCase)) return false
  const [wide, narrow] = a.ignoreCase ? [a.value.toLowerCase(), b.value.toLowerCase()] : [a.value, b.value]
  if (a.kind === 'exact') return b.kind === 'exact' && wide === narrow
  return a.kind === 'prefix' && (b.kind === 'exact' || b.kind === 'prefix') && narrow.startsWith(wide)
}
