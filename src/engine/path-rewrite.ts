import { compileReplace } from '../match/regex.ts'
import type { PathMatch, PathRewrite } from '../model/route.ts'
import { endOfPath } from './compile-match.ts'

/**
 * Changes a path with query; the query stays. Envoy prefix_rewrite, regex_rewrite, path_redirect: what the route's own match
 * matched is the prefix that is replaced.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for a regex or substitution that cannot be used
 */
export function compilePathRewrite(rewrite: PathRewrite, match: PathMatch): (path: string) => string {
  if (rewrite.kind === 'regex') {
    const replace = compileReplace(rewrite.pattern, rewrite.substitution)
    return (path) => {
      const end = endOfPath(path)
      return rooted(replace(path.slice(0, end)) + path.slice(end))
    }
  }
  const { value } = rewrite
  const matched = rewrite.kind === 'full' ? -1 : matchedLength(match)
  return (path) => rooted(value + path.slice(matched < 0 ? endOfPath(path) : Math.min(matched, endOfPath(path))))
}

/** Characters of a path that the match stands for; -1 = all of them. */
function matchedLength({ kind, value }: PathMatch): number {
  if (kind === 'prefix') return value.length
  return kind === 'segments' ? value.replace(/\/+$/, '').length : -1
}

/** A request line needs a path that begins with a slash. */
function rooted(path: string): string {
  return path.charCodeAt(0) === 0x2f ? path : `/${path}`
}
