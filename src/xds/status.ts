/**
 * What CSDS calls the client status of a resource (gRFC A40, A88). With NACKED, DOES_NOT_EXIST and RECEIVED_ERROR a version of before
 * may be in use.
 */
export type ResourceState = 'REQUESTED' | 'ACKED' | 'NACKED' | 'DOES_NOT_EXIST' | 'TIMEOUT' | 'RECEIVED_ERROR'

export interface ResourceStatus {
  readonly name: string
  readonly state: ResourceState
  /** Of the content in use; empty = none. */
  readonly version: string
  /** The content in use came from disk and was not confirmed by a server yet. */
  readonly fromCache: boolean
  /** Of the last refusal; empty = none. */
  readonly error: string
  /** Parts of the content in use that inmesh does not act on. */
  readonly warnings: readonly string[]
}

export interface TypeStatus {
  readonly typeUrl: string
  /** Last version that was accepted whole. */
  readonly version: string
  /** Last nonce of this stream. */
  readonly nonce: string
  readonly resources: readonly ResourceStatus[]
}

export interface XdsStatus {
  /** The current stream delivered a response. */
  readonly connected: boolean
  /** Why the last stream ended; empty = none did. */
  readonly lastError: string
  /** ms since the last response was used; Infinity = never. */
  readonly lastUpdateAgeMs: number
  /** ms since the disk cache, as found at start, was written; Infinity = there was none. */
  readonly cacheAgeMs: number
  /** EDS updates that took away more than half of a cluster's endpoints at once. */
  readonly massRemovals: number
  readonly types: readonly TypeStatus[]
}
