import { type EgressHost, hasSelector, type SidecarSpec } from '../resources/sidecar.ts'
import { hostCovers } from './hosts.ts'
import { selects } from './peer-authentication.ts'
import type { Rule } from './rule.ts'
import type { ClientView, MeshSettings } from './types.ts'

/** What one client may see, and what becomes of the rest. */
export interface EgressScope {
  /** "Sidecar/shop/default" for explain; undefined = no Sidecar is for this client. */
  readonly name: string | undefined
  readonly outboundTrafficPolicy: MeshSettings['outboundTrafficPolicy']
  readonly spec: SidecarSpec | undefined
  /** Whether a service or rule of `namespace` about `host` exists for calls to `port`. */
  sees(namespace: string, host: string, port: number): boolean
}

/** The Sidecars of the mesh; oldest first. */
export class EgressScopes {
  readonly #rules: readonly Rule<SidecarSpec>[]
  readonly #settings: MeshSettings
  readonly #scopes = new Map<string, EgressScope>()

  constructor(rules: readonly Rule<SidecarSpec>[], settings: MeshSettings) {
    this.#rules = rules
    this.#settings = settings
  }

  /** The one with a selector that fits, else the namespace's, else the root namespace's; of several the oldest. */
  of({ namespace, labels }: ClientView): EgressScope {
    const inNamespace = (home: string, selective: boolean) => (rule: Rule<SidecarSpec>) =>
      rule.object.namespace === home && hasSelector(rule.spec) === selective
    const rule =
      this.#rules
        .filter(inNamespace(namespace, true))
        .find(({ spec }) => selects(spec.workloadSelector?.labels ?? {}, labels)) ??
      this.#rules.find(inNamespace(namespace, false)) ??
      this.#rules.find(inNamespace(this.#settings.rootNamespace, false))
    const key = `${namespace} ${rule?.name ?? ''}`
    let scope = this.#scopes.get(key)
    if (scope === undefined) {
      scope = scopeOf(rule, namespace, this.#settings)
      this.#scopes.set(key, scope)
    }
    return scope
  }
}

function scopeOf(rule: Rule<SidecarSpec> | undefined, own: string, settings: MeshSettings): EgressScope {
  const outboundTrafficPolicy = rule?.spec.outboundTrafficPolicy?.mode ?? settings.outboundTrafficPolicy
  const egress = rule?.spec.egress ?? []
  const common = { name: rule?.name, outboundTrafficPolicy, spec: rule?.spec }
  if (egress.length === 0) return { ...common, sees: () => true }
  const byPort = new Map(egress.map((entry) => [entry.port?.number, entry.hosts]))
  return {
    ...common,
    sees(namespace, host, port) {
      const hosts = byPort.get(port) ?? byPort.get(undefined) ?? []
      const covers = (entry: EgressHost) =>
        (entry.namespace === '*' || namespace === (entry.namespace === '.' ? own : entry.namespace)) &&
        hostCovers(entry.name, host)
      return hosts.some((entry) => !entry.exclude && covers(entry)) && !hosts.some((e) => e.exclude && covers(e))
    },
  }
}
