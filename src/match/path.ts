import type { PathMatch } from '../model/route.ts'
import { compileRegex } from './regex.ts'

/** Tests a path without query. A prefix is raw: "/foo" matches "/foobar". */
export function compilePath(match: PathMatch): (path: string) => boolean {
  const { value } = match
  if (match.kind === 'regex') return compileRegex(value)
  if (match.kind === 'prefix' && value === '/') return always
  if (match.ignoreCase) {
    const lower = value.toLowerCase()
    return match.kind === 'exact'
      ? (path) => path.toLowerCase() === lower
      : (path) => path.toLowerCase().startsWith(lower)
  }
  return match.kind === 'exact' ? (path) => path === value : (path) => path.startsWith(value)
}

export function always(): boolean {
  return true
}
