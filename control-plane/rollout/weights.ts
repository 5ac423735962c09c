/** An object of the store, as the admin API gives it. */
export interface Document {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: {
    readonly name: string
    readonly namespace: string
    readonly labels?: Record<string, string>
    readonly annotations?: Record<string, string>
  }
  readonly spec: Record<string, unknown>
}

interface Target {
  readonly destination?: { readonly host?: string; readonly subset?: string }
  readonly weight?: number
}
interface Rule {
  readonly route?: readonly Target[]
}

/** Old and new version, by the names of their subsets. */
export interface Versions {
  readonly from: string
  readonly to: string
}

/** The host whose calls are split. @throws Error when the object does not split between these two */
export function splitHost({ kind, spec }: Document, versions: Versions): string {
  if (kind === 'TrafficSplit') {
    if (versions.from !== 'v1' || versions.to !== 'v2') throw new Error('a TrafficSplit goes from v1 to v2')
    return String(spec.destinationService)
  }
  if (kind !== 'VirtualService') throw new Error(`a ${kind} has no weights: name a TrafficSplit or a VirtualService`)
  const hosts = new Set(
    rules(spec)
      .filter((r) => splits(r, versions))
      .map((r) => r.route![0]!.destination?.host),
  )
  if (hosts.size !== 1)
    throw new Error(
      `${hosts.size === 0 ? 'no rule splits' : 'rules of several hosts split'} between subsets ${versions.from} and ${versions.to} alone`,
    )
  return String([...hosts][0])
}

/** Share of the new version, %, the same in all its rules. undefined = they differ. */
export function weightOf({ kind, spec }: Document, versions: Versions): number | undefined {
  const shares =
    kind === 'TrafficSplit'
      ? [share(Number(spec.v1Weight ?? 100), Number(spec.v2Weight ?? 0))]
      : rules(spec)
          .filter((r) => splits(r, versions))
          .map((r) => share(weight(r, versions.from), weight(r, versions.to)))
  return shares.every((s) => s === shares[0]) ? shares[0] : undefined
}

/** The spec with this share, %, for the new version. Rules that do not split between the two stay as they are. */
export function withWeight({ kind, spec }: Document, versions: Versions, percent: number): Record<string, unknown> {
  if (kind === 'TrafficSplit') return { ...spec, v1Weight: 100 - percent, v2Weight: percent }
  const http = rules(spec).map((rule) =>
    splits(rule, versions)
      ? {
          ...rule,
          route: rule.route!.map((t) => ({
            ...t,
            weight: t.destination?.subset === versions.to ? percent : 100 - percent,
          })),
        }
      : rule,
  )
  return { ...spec, http }
}

function rules(spec: Record<string, unknown>): readonly Rule[] {
  return (spec.http as readonly Rule[] | undefined) ?? []
}

function splits({ route = [] }: Rule, { from, to }: Versions): boolean {
  const subsets = route.map((t) => t.destination?.subset)
  const oneHost = new Set(route.map((t) => t.destination?.host)).size === 1
  return route.length === 2 && oneHost && subsets.includes(from) && subsets.includes(to)
}

function weight({ route = [] }: Rule, subset: string): number {
  return route.find((t) => t.destination?.subset === subset)?.weight ?? 0
}

function share(from: number, to: number): number {
  return from + to === 0 ? 0 : (100 * to) / (from + to)
}
