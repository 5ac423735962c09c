import type { PathMatch, RedirectSpec } from '../model/route.ts'
import { endOfPath } from './compile-match.ts'
import type { RequestView } from './exchange.ts'
import { compilePathRewrite } from './path-rewrite.ts'
import { Rejection } from './rejection.ts'
import { withoutPort } from './virtual-host.ts'

/**
 * Makes the answer of a redirecting route (Envoy RedirectAction). Calls of the mesh are `http`; ports that go without saying
 * are not said.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for a path rewrite that cannot be used
 */
export function compileRedirect(spec: RedirectSpec, match: PathMatch): (view: RequestView) => Rejection {
  const scheme = spec.scheme ?? 'http'
  const path = compileRedirectPath(spec, match)
  return (view) =>
    new Rejection({
      status: spec.status,
      grpcStatus: 2,
      flag: '-',
      details: 'direct_response',
      body: '',
      headers: ['location', `${scheme}://${authorityOf(spec, scheme, view.authority)}${path(view.path)}`],
      verbatim: true,
    })
}

function authorityOf(spec: RedirectSpec, scheme: string, given: string): string {
  const bare = withoutPort(given)
  // The request's own port belongs to its own host, and to its own scheme.
  const own = spec.host === null && given.length > bare.length ? Number(given.slice(bare.length + 1)) : null
  const port = spec.port ?? (own === 80 ? null : own)
  const host = spec.host ?? bare
  return port === null || port === (scheme === 'https' ? 443 : 80) ? host : `${host}:${port}`
}

function compileRedirectPath({ path, stripQuery }: RedirectSpec, match: PathMatch): (path: string) => string {
  if (path === null) return stripQuery ? (text) => text.slice(0, endOfPath(text)) : (text) => text
  const rewrite = compilePathRewrite(path, match)
  if (path.kind === 'full' && path.value.includes('?')) {
    // A query of its own takes the place of the request's.
    return (text) => rewrite(text.slice(0, endOfPath(text)))
  }
  return stripQuery ? (text) => rewrite(text.slice(0, endOfPath(text))) : rewrite
}
