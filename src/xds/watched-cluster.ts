import { type ClusterSpec, clusterDefaults, type EndpointSpec } from '../model/cluster.ts'
import { aggregateSpec } from './aggregate.ts'
import type { ClusterResource } from './resources/cluster.ts'
import type { EndpointsResource } from './resources/endpoints.ts'

/** What is known of a resource that something depends on. */
export type Known<T> =
  /** May still come. */
  | { readonly kind: 'pending' }
  | { readonly kind: 'absent' }
  /** Refused, and nothing good is held. */
  | { readonly kind: 'rejected'; readonly error: string }
  | { readonly kind: 'held'; readonly value: T }

export type ClusterStanding = 'pending' | 'absent' | 'rejected' | 'ready'

/**
 * One cluster's way from CDS and EDS to a complete spec. A new version is used when it is complete, and until then the
 * old one is; both keep their EDS resource subscribed.
 */
export class WatchedCluster {
  readonly name: string
  standing: ClusterStanding = 'pending'
  /** The complete version in use. */
  spec: ClusterSpec | null = null
  /** What it is waiting for. */
  waitsFor = ''
  #usedCluster: ClusterResource | null = null
  /** What an aggregate in use was made of. */
  #usedLeaves: readonly ClusterSpec[] = []
  #usedEndpoints: EndpointsResource = noEndpoints
  #wanted: ClusterResource | null = null

  constructor(name: string) {
    this.name = name
  }

  /** EDS names that must stay subscribed. */
  get edsNames(): string[] {
    const names = [this.#wanted?.edsName, this.#usedCluster?.edsName]
    return names.filter((name) => name != null)
  }

  /** Clusters that must stay subscribed because this one, in its old version or its new one, is made of them. */
  get children(): string[] {
    return [...(this.#wanted?.children ?? []), ...(this.#usedCluster?.children ?? [])]
  }

  /** Looks at its own resource alone, for `children` and `isAggregate`. */
  look(cluster: Known<ClusterResource>): void {
    if (cluster.kind === 'held') this.#wanted = cluster.value
  }

  get isAggregate(): boolean {
    return (this.#wanted?.children.length ?? 0) > 0
  }

  /**
   * An aggregate (gRFC A37): complete when every leaf is there or known not to exist; those that are missing are passed over.
   *
   * @param leaves in order; null = one is waited for, whose name is then in `waitsFor`
   */
  updateAggregate(cluster: Known<ClusterResource>, leaves: readonly ClusterSpec[] | null, waitsFor: string): void {
    this.waitsFor = ''
    if (cluster.kind !== 'held') return
    if (leaves !== null) this.#aggregate(cluster.value, leaves)
    this.standing = this.spec !== null ? 'ready' : 'pending'
    this.waitsFor = this.spec !== null ? '' : waitsFor
  }

  #aggregate(cluster: ClusterResource, leaves: readonly ClusterSpec[]): void {
    const same = leaves.length === this.#usedLeaves.length && leaves.every((leaf, i) => leaf === this.#usedLeaves[i])
    if (this.spec !== null && this.#usedCluster === cluster && same) return
    this.#usedCluster = cluster
    this.#usedEndpoints = noEndpoints
    this.#usedLeaves = leaves
    this.spec = aggregateSpec(cluster, leaves)
  }

  /**
   * @param removed called with the number of endpoints before and of those that stayed, when more than half went at once
   */
  update(
    cluster: Known<ClusterResource>,
    endpoints: (edsName: string) => Known<EndpointsResource>,
    removed: (before: number, stayed: number) => void,
  ): void {
    this.waitsFor = ''
    if (cluster.kind === 'absent') {
      this.#wanted = null
      this.#usedCluster = null
      this.spec = null
      this.standing = 'absent'
      return
    }
    if (cluster.kind !== 'held') {
      this.standing = this.spec !== null ? 'ready' : cluster.kind
      this.waitsFor = this.spec !== null ? '' : `Cluster ${this.name}`
      return
    }
    this.#wanted = cluster.value
    const { edsName, inline } = cluster.value
    const members = edsName === null ? { kind: 'held' as const, value: inline ?? noEndpoints } : endpoints(edsName)
    if (members.kind === 'held') this.#use(cluster.value, members.value, removed)
    else if (members.kind === 'absent') this.#use(cluster.value, noEndpoints, removed)
    // Refused endpoints leave a cluster without any, unless there are old ones to go on with.
    else if (members.kind === 'rejected' && this.spec === null) this.#use(cluster.value, noEndpoints, removed)
    this.standing = this.spec !== null ? 'ready' : 'pending'
    this.waitsFor = this.spec !== null ? '' : `ClusterLoadAssignment ${edsName}`
  }

  #use(cluster: ClusterResource, resource: EndpointsResource, removed: (before: number, stayed: number) => void): void {
    if (this.spec !== null && this.#usedCluster === cluster && this.#usedEndpoints === resource) return
    const before = this.#usedEndpoints.endpoints
    const { endpoints, overprovisioningPercent } = resource
    if (this.spec !== null && before !== endpoints) {
      const stayed = countStayed(before, endpoints)
      if (before.length > 1 && stayed * 2 < before.length) removed(before.length, stayed)
    }
    this.#usedCluster = cluster
    this.#usedEndpoints = resource
    const { priorities } = cluster.spec
    const weighted = cluster.weighsLocalities && endpoints.some((e) => (e.localityWeight ?? 0) > 0)
    const locality = weighted ? 'weighted' : priorities.locality
    this.spec = { ...cluster.spec, priorities: { ...priorities, locality, overprovisioningPercent }, endpoints }
  }
}

const noEndpoints: EndpointsResource = {
  endpoints: [],
  overprovisioningPercent: clusterDefaults.priorities.overprovisioningPercent,
}

function countStayed(before: readonly EndpointSpec[], after: readonly EndpointSpec[]): number {
  const now = new Set(after.map((e) => `${e.address} ${e.port}`))
  return before.reduce((n, e) => n + (now.has(`${e.address} ${e.port}`) ? 1 : 0), 0)
}
