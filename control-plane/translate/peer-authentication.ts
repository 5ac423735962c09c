import type { MeshIndex } from './mesh-index.ts'

export type TlsMode = 'STRICT' | 'PERMISSIVE' | 'DISABLE'
type Mode = TlsMode | 'UNSET'

/** Whether a workload has all labels of a selector; no selector = yes. */
export function selects(
  matchLabels: Readonly<Record<string, string>>,
  labels: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value)
}

/**
 * What a workload's port takes: the narrowest PeerAuthentication that says anything, port > workload > namespace > mesh,
 * else PERMISSIVE. Of several in one scope the oldest counts; those with a selector in the root namespace never do.
 */
export function tlsModeOf(
  index: MeshIndex,
  namespace: string,
  labels: Readonly<Record<string, string>>,
  port: number,
): TlsMode {
  const { rootNamespace } = index.settings
  const scopes: { workload?: Scope; namespace?: Scope; mesh?: Scope } = {}
  for (const { object, spec } of index.peerAuthentication) {
    const matchLabels = spec?.selector?.matchLabels ?? {}
    // What this version cannot read is taken at its strictest, for all that it may have selected.
    const scope: Scope = { mode: spec === undefined ? 'STRICT' : spec.mtls.mode, ports: spec?.portLevelMtls ?? {} }
    const selective = Object.keys(matchLabels).length > 0
    if (selective && object.namespace === namespace && namespace !== rootNamespace && selects(matchLabels, labels))
      scopes.workload ??= scope
    else if (!selective && object.namespace === rootNamespace) scopes.mesh ??= scope
    else if (!selective && object.namespace === namespace) scopes.namespace ??= scope
  }
  const modes: (Mode | undefined)[] = [
    scopes.workload?.ports[String(port)]?.mode,
    scopes.workload?.mode,
    scopes.namespace?.mode,
    scopes.mesh?.mode,
  ]
  return modes.find((mode): mode is TlsMode => mode !== undefined && mode !== 'UNSET') ?? 'PERMISSIVE'
}

interface Scope {
  readonly mode: Mode
  readonly ports: Readonly<Record<string, { mode: Mode }>>
}
