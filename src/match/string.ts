import type { StringMatch } from '../model/match.ts'
import { compileRegex } from './regex.ts'

export type Test = (text: string) => boolean

/** @throws InmeshError ERR_INMESH_INVALID_OPTION for a regex that RE2 refuses */
export function compileString(match: StringMatch): Test {
  if (match.kind === 'regex') return compileRegex(match.value)
  const value = match.ignoreCase ? match.value.toLowerCase() : match.value
  const test = plain(match.kind, value)
  return match.ignoreCase ? (text) => test(text.toLowerCase()) : test
}

function plain(kind: 'exact' | 'prefix' | 'suffix' | 'contains', value: string): Test {
  switch (kind) {
    case 'exact':
      return (text) => text === value
    case 'prefix':
      return (text) => text.startsWith(value)
    case 'suffix':
      return (text) => text.endsWith(value)
    case 'contains':
      return (text) => text.includes(value)
  }
}
