import type { HeaderMatch } from '../model/match.ts'
import { compileString } from './string.ts'

/** What a header matcher reads: the joined value of a header in lower case, undefined when absent. */
export interface HeaderView {
  header(name: string): string | undefined
}
export type HeaderTest = (view: HeaderView) => boolean
/** undefined = there is no such header. */
export type HeaderValueTest = (value: string | undefined) => boolean

/** Envoy's HeaderMatcher. A header that is absent never matches, inverted or not (gRFC A28), unless missing counts as empty. */
export function compileHeader(match: HeaderMatch): HeaderTest {
  const { name } = match
  const test = compileHeaderValue(match)
  return (view) => test(view.header(name))
}

/** The same for a value that was looked up already. */
export function compileHeaderValue(match: HeaderMatch): HeaderValueTest {
  const { invert, missingAsEmpty } = match
  if (match.kind === 'present') {
    const wanted = match.present !== invert
    return (value) => (value !== undefined) === wanted
  }
  const test = match.kind === 'string' ? compileString(match.match) : inRange(match.start, match.end)
  return (value) => {
    if (value === undefined) return missingAsEmpty && test('') !== invert
    return test(value) !== invert
  }
}

function inRange(start: number, end: number): (text: string) => boolean {
  return (text) => {
    if (!/^[+-]?[0-9]{1,15}$/.test(text)) return false
    const n = Number(text)
    return n >= start && n < end
  }
}
