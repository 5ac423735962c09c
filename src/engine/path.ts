/**
 * Request paths in the forms in which policies see them (security of paths: one parser's "/a/%2e%2e/b" is another's "/b").
 * BASE: unreserved escapes decoded, "\" is "/", dot segments removed, in one pass. STRICT: "%2f" and "%5c" decoded first and
 * slashes merged after (Istio's DECODE_AND_MERGE_SLASHES).
 */
export interface NormalPath {
  readonly base: string
  readonly strict: string
  /** "?..." as sent; '' = none. */
  readonly query: string
}

/**
 * null = no path that anybody may see: not origin form, control characters, an escaped NUL, or broken escapes which the
 * decoding of others would complete ("%%32e" is "%2e" to whoever decodes once more), or dots over empty segments, which
 * mean one thing before slashes are merged and another after.
 */
export function normalizePath(target: string): NormalPath | null {
  const hash = target.indexOf('#')
  const whole = hash < 0 ? target : target.slice(0, hash)
  const mark = whole.indexOf('?')
  const raw = mark < 0 ? whole : whole.slice(0, mark)
  const query = mark < 0 ? '' : whole.slice(mark)
  if (raw === '*') return { base: '*', strict: '*', query }
  if (!raw.startsWith('/') || hasControl(raw) || raw.includes('%00')) return null
  if (plain.test(raw) && !raw.includes('//') && !raw.includes('/.')) return { base: raw, strict: raw, query }
  const once = decodeUnreserved(raw)
  if (once !== raw && broken.test(raw)) return null
  const base = dotless(once.replaceAll('\\', '/'))
  const strict = strictOf(raw)
  // "/a//..//b" is "/a//b" to the app, which may read it as "/a/b": what policy judged must be all that it can become.
  if (strictOf(base) !== strict) return null
  return { base, strict, query }
}

/** Istio's DECODE_AND_MERGE_SLASHES. */
function strictOf(path: string): string {
  const decoded = decodeUnreserved(path.replace(/%2f/gi, '/').replace(/%5c/gi, '/')).replaceAll('\\', '/')
  return dotless(decoded.replace(/\/{2,}/g, '/'))
}

/** C0 controls, space and DEL: no parser of ours lets them pass, so nobody may rely on what they would mean. */
function hasControl(path: string): boolean {
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i)
    if (code <= 0x20 || code === 0x7f) return true
  }
  return false
}

/** Nothing to do for nearly every request. */
const plain = /^[A-Za-z0-9/_.~!$&'()*+,;=:@-]*$/

const broken = /%(?![0-9a-fA-F]{2})/

/** RFC 3986 section 2.3; escapes of anything else stay, in their case. */
function decodeUnreserved(path: string): string {
  return path.replace(/%([0-9a-fA-F]{2})/g, (escaped, hex: string) => {
    const char = String.fromCharCode(Number.parseInt(hex, 16))
    return /[A-Za-z0-9._~-]/.test(char) ? char : escaped
  })
}

/** RFC 3986 section 5.2.4; empty segments stay. */
function dotless(path: string): string {
  const out: string[] = []
  const segments = path.split('/').slice(1)
  segments.forEach((segment, i) => {
    const last = i === segments.length - 1
    if (segment === '..') {
      out.pop()
      if (last) out.push('')
    } else if (segment === '.') {
      if (last) out.push('')
    } else out.push(segment)
  })
  return `/${out.join('/')}`
}
