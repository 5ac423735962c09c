/** Methods that OpenTelemetry knows; others must not make new label values (RFC 9110, RFC 5789, RFC 10008 QUERY). */
const methods = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT', 'QUERY'])

/** `http.request.method`, and what it was when that is `_OTHER`. */
export function methodName(method: string): { method: string; original: string | null } {
  return methods.has(method) ? { method, original: null } : { method: '_OTHER', original: method.slice(0, 64) }
}

/** Host and port of an authority ("payments:8080", "[::1]:80"). */
export function splitAuthority(authority: string, defaultPort: number): { host: string; port: number } {
  const colon = authority.lastIndexOf(':')
  const port = colon > authority.lastIndexOf(']') ? Number(authority.slice(colon + 1)) : Number.NaN
  if (!Number.isInteger(port)) return { host: authority, port: defaultPort }
  return { host: authority.slice(0, colon), port }
}

export function withoutQuery(path: string): string {
  const at = path.indexOf('?')
  return at < 0 ? path : path.slice(0, at)
}
