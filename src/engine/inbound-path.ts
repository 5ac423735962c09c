import type { InboundSpec } from '../model/inbound.ts'
import type { AuthorizationView, Authorize } from './authorize.ts'
import { endOfPath } from './compile-match.ts'
import type { InboundStep } from './inbound-step.ts'
import { type NormalPath, normalizePath } from './path.ts'
import { type Rejection, rejections } from './rejection.ts'

type Mode = InboundSpec['pathNormalization']

/**
 * Makes the path comparable: policies look at the strict form, the app gets the form that the mesh is set to
 * (MeshConfig.pathNormalization). What has no form that all would read alike is refused, in every mode.
 */
export function pathStep(mode: Mode): InboundStep {
  return {
    name: 'path',
    admit(request) {
      const path = normalizePath(request.path)
      if (path === null) return rejections.badPath
      request.policyPath = path.strict
      if (mode === 'NONE') return undefined
      const shown = shownTo[mode](path) + path.query
      if (shown !== request.path) request.setPath(shown)
      return undefined
    },
  }
}

const shownTo = {
  BASE: (path: NormalPath) => path.base,
  MERGE_SLASHES: (path: NormalPath) => path.base.replace(/\/{2,}/g, '/'),
  DECODE_AND_MERGE_SLASHES: (path: NormalPath) => path.strict,
} as const

/** Authorizes by the strict form; where the path that the app gets would be judged otherwise, it is ambiguous and refused. */
export function authorizeStep(filters: readonly Authorize[]): InboundStep {
  return {
    name: 'authorize',
    admit: (request) => judgeBoth(filters, request, request.policyPath, withoutQuery(request.path)),
  }
}

/** What the two steps above say of a target as received, and the path that they judged; `path` null = none that anybody may see. */
export function authorizePath(
  filters: readonly Authorize[],
  mode: Mode,
  view: AuthorizationView,
  target: string,
): { readonly path: NormalPath | null; readonly refusal: Rejection | undefined } {
  const path = normalizePath(target)
  if (path === null) return { path, refusal: rejections.badPath }
  const shown = mode === 'NONE' ? withoutQuery(target) : shownTo[mode](path)
  return { path, refusal: judgeBoth(filters, view, path.strict, shown) }
}

/** A refusal, also where two readings of the path would be judged differently. */
export function judgeBoth(
  filters: readonly Authorize[],
  view: AuthorizationView,
  strict: string,
  shown: string,
): Rejection | undefined {
  const refusal = judge(filters, view, strict)
  if (shown === strict) return refusal
  return (judge(filters, view, shown) === undefined) === (refusal === undefined) ? refusal : rejections.ambiguousPath
}

function judge(filters: readonly Authorize[], view: AuthorizationView, path: string): Rejection | undefined {
  for (const authorize of filters) {
    const refusal = authorize(view, path)
    if (refusal !== undefined) return refusal
  }
  return undefined
}

function withoutQuery(path: string): string {
  return path.slice(0, endOfPath(path))
}
