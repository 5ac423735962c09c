import type { MirrorSpec, RouteSpec, WeightedCluster } from '../model/route.ts'
import type { Call } from './call.ts'
import type { ClusterRuntime } from './cluster.ts'
import { compileHash } from './hash-policy.ts'
import { type Policy, policyLists } from './policy.ts'
import { below } from './random.ts'
import type { Mirror, Route, RouteEdits } from './route.ts'
import { compileRouteEdits } from './route-edits.ts'
import { withoutPort } from './virtual-host.ts'

/** Longest that a shadow may take, ms: it must not pile up beside calls without a limit of their own. */
export const MAX_SHADOW_MS = 15_000

/** Where the shadows of a route's calls go. */
export interface Shadow {
  /** Name of the cluster. */
  readonly cluster: string
  /** A route of its own, without retries; null = the cluster does not exist. */
  readonly route: Route | null
  readonly compare: boolean
  /** Bytes. */
  readonly maxBodyBytes: number
}

/** What became of one shadow. */
export interface MirrorReport {
  /** The call that was mirrored; it may still be under way. */
  readonly call: Call
  readonly cluster: string
  /** Refused: by a gate of the cluster, or there was no host. Skipped: never tried. */
  readonly result: 'answered' | 'refused' | 'failed' | 'skipped'
  /** Of the shadow's answer; 0 = none. */
  readonly status: number
  /** null = not compared; else what differs from the real answer, nothing when they are the same. */
  readonly differences: readonly MirrorDifference[] | null
}

/** `headers`: their names. `body`: its bytes, or the length of what is too large to be read whole. */
export type MirrorDifference = 'status' | 'headers' | 'body'

/** @param gates of a cluster, in order @returns null = nothing is mirrored */
export function compileMirror(
  spec: RouteSpec,
  destination: WeightedCluster,
  clusterOf: (name: string) => ClusterRuntime | undefined,
  gates: (cluster: ClusterRuntime) => readonly Policy[],
): Mirror | null {
  const mirrors = spec.mirrors.filter((mirror) => mirror.perMillion > 0)
  if (mirrors.length === 0) return null
  return mirrors.reduceRight<OneMirror | null>((next, mirror) => {
    const { cluster: name, perMillion, compare, maxBodyBytes } = mirror
    const cluster = clusterOf(name)
    const known = cluster !== undefined && cluster.spec.kind !== 'passthrough'
    const route = known ? shadowRoute(spec, destination, mirror, cluster, gates(cluster)) : null
    return new OneMirror(perMillion, { cluster: name, route, compare, maxBodyBytes }, next)
  }, null)
}

/** One mirror of a route, and those after it. Calls that are not drawn look at this object alone. */
class OneMirror implements Mirror {
  private readonly perMillion: number
  private readonly shadow: Shadow
  private readonly next: OneMirror | null

  constructor(perMillion: number, shadow: Shadow, next: OneMirror | null) {
    this.perMillion = perMillion
    this.shadow = shadow
    this.next = next
  }

  start(call: Call, now: number): void {
    const { perMillion } = this
    if (perMillion >= 1_000_000 || below(call.env.random, 1_000_000) < perMillion)
      call.exchange.shadow?.(this.shadow, call)
    this.next?.start(call, now)
  }
}

function shadowRoute(
  spec: RouteSpec,
  destination: WeightedCluster,
  mirror: MirrorSpec,
  cluster: ClusterRuntime,
  gates: readonly Policy[],
): Route {
  const { policies, onOutcome } = policyLists(gates)
  return {
    kind: 'route',
    name: 'mirror',
    shadow: true,
    cluster,
    timeoutMs: Math.min(spec.timeoutMs, MAX_SHADOW_MS),
    timeoutUntilHeaders: false,
    tryTimeoutMs: Number.POSITIVE_INFINITY,
    retry: null,
    hash: compileHash(spec.hash),
    session: null,
    hedge: null,
    mirror: null,
    classifier: null,
    idleTimeoutMs: spec.idleTimeoutMs,
    // Where there is too much to do, copies go first.
    priority: 'SHEDDABLE',
    coalesce: null,
    edits: shadowEdits(compileRouteEdits(spec, destination, null), mirror.shadowSuffix),
    policies,
    onOutcome,
    spec: { ...spec, retry: null, hedge: null, priority: 'SHEDDABLE' },
  }
}

/** What goes out is what the real request says, but for the authority. */
function shadowEdits(real: RouteEdits | null, suffix: boolean): RouteEdits | null {
  if (!suffix) return real === null ? null : { ...real, response: null, local: null }
  return {
    path: (path) => (real === null ? path : real.path(path)),
    authority: (authority) => shadowOf(real === null ? authority : real.authority(authority)),
    request: (headers, request, call) => real?.request(headers, request, call),
    response: null,
    local: null,
  }
}

/** The authority by which peers tell shadows apart: "svc:80" is "svc-shadow:80". */
function shadowOf(authority: string): string {
  const bare = withoutPort(authority)
  return `${bare}-shadow${authority.slice(bare.length)}`
}
