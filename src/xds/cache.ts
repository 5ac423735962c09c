import { readdirSync, readFileSync, statSync, unlinkSync } from 'node:fs'
import { link, mkdir, open, readFile, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Logger } from '../model/logger.ts'
import { type CacheContent, decodeCache, encodeCache } from './cache-file.ts'

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
  /** Changes are gathered for this long before they are written, ms. */
  readonly writeAfterMs?: number
}

const KEEP_UNSEEN_MS = 24 * 3_600_000
const REFRESH_MS = 6 * 3_600_000

/**
 * The last good resources on disk, for a start without a control plane. One file, shared by the instances of a
 * service: each writes what it holds together with what the others wrote, and what no instance held for 24 h goes.
 * Written whole to a temporary file, synced, renamed; the version before stays as `.prev`. No failure of it stops
 * anything: the worst is a warning and an older file.
 */
export class ResourceCache {
  readonly #path: string
  readonly #logger: Logger
  readonly #now: () => number
  readonly #writeAfterMs: number
  /** Found at start, or let go since. */
  readonly #found = new Map<string, CachedResource>()
  readonly #own = new Map<string, CachedResource>()
  /** Key -> when the control plane said it does not exist; keeps the others' copies from coming back. */
  readonly #deleted = new Map<string, number>()
  #savedAt = Number.NEGATIVE_INFINITY
  #timer: NodeJS.Timeout | undefined
  #dirty = false
  #writing: Promise<void> = Promise.resolve()

  /** Reads the file at once; a damaged one is reported and the one before is taken. */
  constructor(options: ResourceCacheOptions) {
    this.#path = options.path
    this.#logger = options.logger
    this.#now = options.now ?? Date.now
    this.#writeAfterMs = options.writeAfterMs ?? 1_000
    const content = this.#load(this.#path) ?? this.#load(`${this.#path}.prev`)
    if (content === undefined) return
    this.#savedAt = content.savedAt
    for (const entry of content.entries) if (this.#isFresh(entry)) this.#found.set(keyOf(entry), entry)
  }

  /** ms since the file that was found at start was written; Infinity = none was found. */
  get ageMs(): number {
    return this.#now() - this.#savedAt
  }

  get(typeUrl: string, name: string): CachedResource | undefined {
    const key = keyOf({ typeUrl, name })
    return this.#own.get(key) ?? this.#found.get(key)
  }

  put(typeUrl: string, name: string, version: string, value: Uint8Array): void {
    const key = keyOf({ typeUrl, name })
    this.#deleted.delete(key)
    this.#found.delete(key)
    const before = this.#own.get(key)
    if (before?.value === value && before.version === version) return
    this.#own.set(key, { typeUrl, name, version, value, seenAt: this.#now() })
    this.#schedule()
  }

  /** This process does not need it any more; it stays for those who may. */
  release(typeUrl: string, name: string): void {
    const key = keyOf({ typeUrl, name })
    const entry = this.#own.get(key)
    if (entry === undefined) return
    this.#own.delete(key)
    this.#found.set(key, { ...entry, seenAt: this.#now() })
  }

  /** It does not exist. */
  delete(typeUrl: string, name: string): void {
    const key = keyOf({ typeUrl, name })
    this.#deleted.set(key, this.#now())
    const removed = this.#own.delete(key)
    if (this.#found.delete(key) || removed) this.#schedule()
  }

  /** Writes what is not written yet. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#dirty) {
      this.#dirty = false
      this.#writing = this.#writing.then(() => this.#write())
    }
    await this.#writing
  }

  /** Writes what is not written yet and stops the timer. */
  async close(): Promise<void> {
    await this.flush()
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #schedule(afterMs = this.#writeAfterMs): void {
    if (this.#dirty && this.#timer !== undefined) return
    this.#dirty = true
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.flush(), afterMs).unref()
  }

  async #write(): Promise<void> {
    const temporary = `${this.#path}.${process.pid}.tmp`
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 })
      const current = await this.#readCurrent()
      await writeSynced(temporary, encodeCache({ savedAt: this.#now(), entries: this.#merged(current) }))
      // Only a file that can be read may become the one to fall back to.
      if (current !== undefined) await this.#keepPrevious()
      await rename(temporary, this.#path)
      await syncDirectory(dirname(this.#path))
    } catch (error) {
      this.#logger.warn('the cache of configuration could not be written; the one before stays', {
        path: this.#path,
        error,
      })
      await unlink(temporary).catch(() => undefined) // It may not exist; there is nothing more to be done.
    }
    // Entries of a process without news must not look unseen.
    if (!this.#dirty && this.#own.size > 0) {
      clearTimeout(this.#timer)
      this.#timer = setTimeout(() => this.#schedule(), REFRESH_MS).unref()
    }
  }

  async #readCurrent(): Promise<CacheContent | undefined> {
    try {
      return decodeCache(await readFile(this.#path))
    } catch {
      // Missing or damaged: there is nothing of the others to keep. Damage was reported when it was loaded.
      return undefined
    }
  }

  #merged(current: CacheContent | undefined): CachedResource[] {
    const merged = new Map<string, CachedResource>(this.#found)
    for (const entry of current?.entries ?? []) {
      const key = keyOf(entry)
      const known = merged.get(key)
      if (known === undefined || known.seenAt <= entry.seenAt) merged.set(key, entry)
    }
    for (const [key, entry] of merged)
      if (!this.#isFresh(entry) || (this.#deleted.get(key) ?? Number.NEGATIVE_INFINITY) >= entry.seenAt)
        merged.delete(key)
    const seenAt = this.#now()
    for (const [key, entry] of this.#own) merged.set(key, { ...entry, seenAt })
    return [...merged.values()]
  }

  async #keepPrevious(): Promise<void> {
    const previous = `${this.#path}.prev`
    await unlink(previous).catch(() => undefined) // The first time there is none.
    await link(this.#path, previous)
  }

  #isFresh(entry: CachedResource): boolean {
    return this.#now() - entry.seenAt < KEEP_UNSEEN_MS
  }

  #load(path: string): CacheContent | undefined {
    this.#removeLeftovers()
    try {
      return decodeCache(readFileSync(path))
    } catch (error) {
      if (!isMissing(error)) this.#logger.warn('the cache of configuration cannot be used', { path, error })
      return undefined
    }
  }

  /** Temporary files of processes that were killed while they wrote. */
  #removeLeftovers(): void {
    const folder = dirname(this.#path)
    const prefix = `${basename(this.#path)}.`
    try {
      for (const name of readdirSync(folder)) {
        const path = join(folder, name)
        if (!name.startsWith(prefix) || !name.endsWith('.tmp')) continue
        if (this.#now() - statSync(path).mtimeMs > 3_600_000) unlinkSync(path)
      }
    } catch (error) {
      if (!isMissing(error)) this.#logger.debug('old temporary files could not be removed', { folder, error })
    }
  }
}

async function writeSynced(path: string, content: Buffer): Promise<void> {
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}

async function syncDirectory(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

function keyOf(entry: Pick<CachedResource, 'typeUrl' | 'name'>): string {
  return `${entry.typeUrl} ${entry.name}`
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
