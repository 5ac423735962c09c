import type { PathMatch } from '../model/route.ts'
import { compileRegex } from './regex.ts'

/** Tests a path without query. A prefix is raw: "/foo" matches "/foobar". */
export function compilePath(match: PathMatch): (path: string) => boolean {
  const { value } = match
  if (match.kind === 'regex') return compileRegex(value)
  if (match.kind === 'prefix' && value === '/') return always
  if (match.kind === 'segments') {
    const bare = value.replace(/\/+$/, '')
    if (bare === '') return always
    const wanted = match.ignoreCase ? bare.toLowerCase() : bare
    return (path) => {
      if (path.length < wanted.length) return false
      const start = path.slice(0, wanted.length)
      if ((match.ignoreCase ? start.toLowerCase() : start) !== wanted) return false
      return path.length === wanted.length || path.charCodeAt(wanted.length) === 0x2f
    }
  }
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
