import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../src/model/clock.ts'
import type { Logger } from '../src/model/logger.ts'
import { Debounce } from './debounce.ts'
import { CursorExpired, type Store, type StoreSnapshot } from './store/store.ts'
import type { MeshSettings, Translate, Translation } from './translate/types.ts'

export interface RevisionsOptions {
  readonly store: Store
  readonly settings: MeshSettings
  /** Root certificates in PEM by trust domain; read with every revision. */
  readonly trustBundles: () => ReadonlyMap<string, readonly string[]>
  readonly translate: Translate
  readonly clock: Clock
  readonly logger: Logger
  /** Gets every translation, in order. `since`: clock time of the first change in it. */
  readonly publish: (translation: Translation, since: number) => Promise<void>
  /** ms; default 20. */
  readonly quietMs?: number
  /** ms; default 500. */
  readonly maxMs?: number
}

export interface RevisionStatus {
  /** Of the translation that is being served. */
  readonly revision: number
  /** Why a later revision is not served; '' = none has failed since. */
  readonly error: string
}

/** Wait before the store is looked at again after it failed, ms. */
const RETRY = 1_000

/**
 * From store to discovery: watches, waits for the end of a burst, reads one consistent revision, translates it, publishes
 * it. A revision that cannot be translated leaves the last good one in force.
 */
export class Revisions {
  readonly #options: RevisionsOptions
  readonly #debounce: Debounce
  readonly #stop = new AbortController()
  #translation: Translation | null = null
  #error = ''
  #cursor = ''
  #timer: NodeJS.Timeout | undefined
  #building: Promise<void> | null = null
  readonly #awaited = new Set<{ revision: number; done: () => void }>()
  #watching: Promise<void> = Promise.resolve()

  constructor(options: RevisionsOptions) {
    this.#options = options
    this.#debounce = new Debounce(options.quietMs ?? 20, options.maxMs ?? 500)
  }

  get status(): RevisionStatus {
    return { revision: this.#translation?.revision ?? 0, error: this.#error }
  }

  /** What is being served; there once `start` has resolved. */
  get translation(): Translation {
    return this.#translation!
  }

  /** Publishes what is stored and follows the store from there. Rejects when the store cannot be read or translated at all. */
  async start(): Promise<void> {
    this.#debounce.hit(this.#options.clock.now())
    await this.#build()
    if (this.#translation === null) throw new Error(this.#error)
    this.#watching = this.#watch()
  }

  /** Something has changed that the store does not know of (trust bundles). */
  touch(): void {
    this.#debounce.hit(this.#options.clock.now())
    this.#arm()
  }

  /** What was just written must not wait: an endpoint has left or is unhealthy. */
  hurry(): void {
    this.#debounce.hurry(this.#options.clock.now())
    this.#arm()
  }

  /** Resolves when `revision` or a later one is served, or after `timeoutMs`: what cannot be translated must not hold up its writer. */
  async served(revision: number, timeoutMs: number): Promise<void> {
    if (this.status.revision >= revision) return
    await new Promise<void>((resolve) => {
      const awaited = { revision, done: () => finish() }
      const timer = setTimeout(() => finish(), timeoutMs)
      const finish = () => {
        clearTimeout(timer)
        this.#awaited.delete(awaited)
        resolve()
      }
      this.#awaited.add(awaited)
    })
  }

  async close(): Promise<void> {
    this.#stop.abort()
    for (const { done } of this.#awaited) done()
    clearTimeout(this.#timer)
    await Promise.all([this.#watching, this.#building])
  }

  async #watch(): Promise<void> {
    const { store, logger } = this.#options
    while (!this.#stop.signal.aborted) {
      try {
        for await (const change of store.watch(this.#cursor, this.#stop.signal)) {
          this.#cursor = change.cursor
          if (change.type !== 'bookmark') this.touch()
        }
      } catch (error) {
        if (this.#stop.signal.aborted) return
        if (!(error instanceof CursorExpired)) {
          logger.error('the store cannot be watched', { error })
          await sleep(RETRY, undefined, { signal: this.#stop.signal }).catch(() => undefined)
        }
        // Whatever was missed is in the next snapshot; go on from there.
        this.#cursor = await this.#freshCursor()
        this.touch()
      }
    }
  }

  async #freshCursor(): Promise<string> {
    try {
      return (await this.#options.store.snapshot()).cursor
    } catch {
      // The store is still not readable: the next round of the watch says so again.
      return this.#cursor
    }
  }

  #arm(): void {
    clearTimeout(this.#timer)
    if (this.#building !== null || this.#stop.signal.aborted || this.#debounce.due === Number.POSITIVE_INFINITY) return
    const wait = this.#debounce.due - this.#options.clock.now()
    if (wait <= 0) void this.#build()
    else this.#timer = setTimeout(() => void this.#build(), wait)
  }

  #build(): Promise<void> {
    this.#building ??= this.#buildOnce().finally(() => {
      this.#building = null
      this.#arm()
    })
    return this.#building
  }

  async #buildOnce(): Promise<void> {
    const { store, settings, trustBundles, translate, clock, logger, publish } = this.#options
    const since = this.#debounce.take(clock.now())
    let snapshot: StoreSnapshot
    try {
      snapshot = await store.snapshot()
    } catch (error) {
      this.#failed('the store cannot be read', error)
      if (this.#translation !== null) this.#debounce.hit(clock.now() + RETRY)
      return
    }
    try {
      const { revision, objects, endpoints, services, cursor } = snapshot
      if (this.#cursor === '') this.#cursor = cursor
      const mesh = { revision, settings, objects, endpoints, services, trustBundles: trustBundles() }
      this.#translation = translate(mesh, this.#translation)
    } catch (error) {
      this.#failed(`revision ${snapshot.revision} cannot be translated; the last good one stays`, error)
      return
    }
    this.#error = ''
    await publish(this.#translation, since).catch((error: unknown) => logger.error('push failed', { error }))
    for (const { revision, done } of this.#awaited) if (revision <= this.status.revision) done()
  }

  #failed(what: string, error: unknown): void {
    if (this.#stop.signal.aborted) return
    this.#error = `${what}: ${(error as Error).message}`
    this.#options.logger.error(what, { error, served: this.status.revision })
  }
}
