import type { ClusterSpec } from './cluster.ts'
import type { InboundSpec } from './inbound.ts'
import type { RouteTable } from './route.ts'

/**
 * Everything that configuration says at one moment; immutable and replaced whole. Only what is complete is in it: a
 * listener appears when its routes, their clusters and the clusters' endpoints have all arrived ("warming"); until a new
 * version of it is complete, the old one stays. Parts that did not change keep their object identity.
 */
export interface Snapshot {
  /** Counts up by one with every change in this process. */
  readonly sequence: number
  /** Client listeners by the authority as it was dialled ("payments", "payments:8080"). */
  readonly listeners: ReadonlyMap<string, ListenerSpec>
  /** Authorities that the control plane says do not exist (the does-not-exist timer ran out, or deleted). */
  readonly absent: ReadonlySet<string>
  readonly clusters: ReadonlyMap<string, ClusterSpec>
  /** By resource name, `inmesh/inbound/IP:PORT`. */
  readonly inbound: ReadonlyMap<string, InboundSpec>
  /** Root certificates (DER) by trust domain; never merged across domains. */
  readonly trustBundles: TrustBundles
}

export interface ListenerSpec {
  readonly name: string
  readonly routes: RouteTable
}

export type TrustBundles = ReadonlyMap<string, readonly Uint8Array[]>

export const emptySnapshot: Snapshot = {
  sequence: 0,
  listeners: new Map(),
  absent: new Set(),
  clusters: new Map(),
  inbound: new Map(),
  trustBundles: new Map(),
}
