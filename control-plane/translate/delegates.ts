import type { StringMatch } from '../../src/model/match.ts'
import type { HttpMatch, HttpRoute, VirtualServiceSpec } from '../resources/virtual-service.ts'
import type { MeshIndex } from './mesh-index.ts'
import type { Rule } from './rule.ts'

/** One rule of a VirtualService with whom it comes from: short names of hosts are of that object's namespace. */
export interface OwnedRoute {
  readonly http: HttpRoute
  readonly rule: Rule<VirtualServiceSpec>
}

/**
 * The rules of a VirtualService with those that it delegates in their place, as Istio merges them: conditions of both must
 * hold, what the delegate leaves open comes from the root. Pairs of conditions that contradict each other are left out, as is
 * a rule whose delegate does not exist, is not visible or has hosts of its own.
 */
export function withDelegates(index: MeshIndex, root: Rule<VirtualServiceSpec>): OwnedRoute[] {
  return root.spec.http.flatMap((http): OwnedRoute[] => {
    if (http.delegate === undefined) return [{ http, rule: root }]
    const { name, namespace = root.object.namespace } = http.delegate
    const delegate = index.delegate(namespace, name, root.object.namespace)
    if (delegate === undefined) return []
    return delegate.spec.http
      .filter((inner) => inner.delegate === undefined)
      .flatMap((inner) => {
        const match = mergeMatches(http.match, inner.match)
        return match === null ? [] : [{ http: merge(http, inner, match), rule: delegate }]
      })
  })
}

const inherited = ['rewrite', 'timeout', 'retries', 'fault', 'corsPolicy', 'headers'] as const

function merge(root: HttpRoute, inner: HttpRoute, match: HttpMatch[]): HttpRoute {
  const missing = inherited.filter((part) => inner[part] === undefined && root[part] !== undefined)
  // Neither a redirect nor an answer can have them.
  const allowed = missing.filter(
    (part) => (part !== 'rewrite' && part !== 'fault') || (inner.redirect ?? inner.directResponse) === undefined,
  )
  const names = [root.name, inner.name].filter((name) => name !== undefined && name !== '')
  const mirrored = inner.mirror !== undefined || inner.mirrors.length > 0
  return {
    ...inner,
    ...Object.fromEntries(allowed.map((part) => [part, root[part]])),
    ...(mirrored
      ? {}
      : {
          mirror: root.mirror,
          mirrors: root.mirrors,
          mirrorPercentage: root.mirrorPercentage,
          mirrorPercent: root.mirrorPercent,
        }),
    match,
    ...(names.length === 0 ? {} : { name: names.join('-') }),
  }
}

/** [] = no condition; null = nothing is left. */
function mergeMatches(roots: readonly HttpMatch[], inner: readonly HttpMatch[]): HttpMatch[] | null {
  if (roots.length === 0) return [...inner]
  if (inner.length === 0) return [...roots]
  const pairs = roots.flatMap((root) => inner.flatMap((leaf) => mergeMatch(root, leaf) ?? []))
  return pairs.length === 0 ? null : pairs
}

const texts = ['uri', 'scheme', 'method', 'authority'] as const
const tables = ['headers', 'withoutHeaders', 'queryParams'] as const

function mergeMatch(root: HttpMatch, leaf: HttpMatch): HttpMatch | null {
  for (const field of texts) if (contradict(root[field], leaf[field])) return null
  for (const field of tables)
    for (const [name, value] of Object.entries(leaf[field])) if (contradict(root[field][name], value)) return null
  if (root.uri !== undefined && leaf.uri !== undefined && root.ignoreUriCase !== leaf.ignoreUriCase) return null
  for (const field of ['port', 'sourceNamespace'] as const)
    if (root[field] !== undefined && leaf[field] !== undefined && root[field] !== leaf[field]) return null
  for (const [name, value] of Object.entries(leaf.sourceLabels))
    if (root.sourceLabels[name] !== undefined && root.sourceLabels[name] !== value) return null
  const names = [root.name, leaf.name].filter((name) => name !== undefined && name !== '')
  return {
    ...root,
    ...Object.fromEntries(Object.entries(leaf).filter(([, value]) => value !== undefined)),
    ignoreUriCase: leaf.uri === undefined ? root.ignoreUriCase : leaf.ignoreUriCase,
    headers: { ...root.headers, ...leaf.headers },
    withoutHeaders: { ...root.withoutHeaders, ...leaf.withoutHeaders },
    queryParams: { ...root.queryParams, ...leaf.queryParams },
    sourceLabels: { ...root.sourceLabels, ...leaf.sourceLabels },
    ...(names.length === 0 ? {} : { name: names.join('-') }),
  }
}

/** Istio's rule: the delegate may only narrow what the root says, and regexes cannot be compared. */
function contradict(root: StringMatch | 'present' | undefined, leaf: StringMatch | 'present' | undefined): boolean {
  if (root === undefined || leaf === undefined) return false
  if (root === 'present') return false
  if (leaf === 'present') return true
  if (root.kind === 'exact') return leaf.kind !== 'exact' || leaf.value !== root.value
  if (root.kind === 'prefix')
    return (leaf.kind !== 'exact' && leaf.kind !== 'prefix') || !leaf.value.startsWith(root.value)
  return true
}
