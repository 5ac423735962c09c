import type { Logger } from '../model/logger.ts'

/** A resource as it came over the wire and was accepted. */
export interface CachedResource {
  readonly typeUrl: string
  readonly name: string
  readonly version: string
  readonly value: Uint8Array
  /** Wall clock ms at which an instance last held it. */
  readonly seenAt: number
}

export interface ResourceCacheOptions {
  readonly path: string
  readonly logger: Logger
  /** Wall clock ms. */
  readonly now?: () => number
}

/** The last good resources on disk. */
export interface ResourceCache {
  get(typeUrl: string, name: string): CachedResource | undefined
}
