import type { Logger } from '../../src/model/logger.ts'
import type { ClientView, EncodedResource, Translation } from '../translate/types.ts'
import type { DiscoveryStream, ResourceView } from './stream.ts'

interface Entry {
  resource: EncodedResource | undefined
  readonly streams: Set<DiscoveryStream>
}

/** Clients that are alike see the same; what one of them needed is there for the others. */
class Audience implements ResourceView {
  readonly view: ClientView
  /** Streams that read from it. */
  readers = 0
  readonly entries = new Map<string, Map<string, Entry>>()
  readonly #interest: Interest

  constructor(view: ClientView, interest: Interest) {
    this.view = view
    this.#interest = interest
  }

  get version(): string {
    return this.#interest.version
  }

  lookup(typeUrl: string, name: string): EncodedResource | undefined {
    return this.entries.get(typeUrl)?.get(name)?.resource
  }
}

/**
 * Who listens to what, and what it is now. A new translation is compared name by name with the one before, once for all
 * clients that are alike, and only the streams that asked for something that changed are told.
 *
 * It also keeps two promises when a translation is faulty: a resource that cannot be made stays as it was, and so does
 * one that refers to something that does not exist (a route never goes out before its cluster and its endpoints).
 */
export class Interest {
  readonly #logger: Logger
  readonly #audiences = new Map<string, Audience>()
  #translation: Translation | null = null
  /** What was found to be complete in this translation, per audience. */
  #checked = new Map<Audience, Set<string>>()
  #faults = new Set<string>()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  get version(): string {
    return String(this.#translation?.revision ?? 0)
  }

  /** What a stream of this client reads from; to be given back with `release`. */
  audience(view: ClientView): ResourceView {
    const key = keyOf(view)
    let audience = this.#audiences.get(key)
    if (audience === undefined) {
      audience = new Audience(view, this)
      this.#audiences.set(key, audience)
    }
    audience.readers++
    return audience
  }

  /** The stream has ended. */
  release(stream: DiscoveryStream, reader: ResourceView): void {
    const audience = reader as Audience
    for (const typeUrl of stream.types)
      for (const name of stream.names(typeUrl)) this.#leave(audience, typeUrl, name, stream)
    if (--audience.readers === 0) this.#audiences.delete(keyOf(audience.view))
  }

  /** The stream's names of a type are now `names`, after they were `before`. */
  update(
    stream: DiscoveryStream,
    reader: ResourceView,
    typeUrl: string,
    before: ReadonlySet<string>,
    names: ReadonlySet<string>,
  ): void {
    const audience = reader as Audience
    for (const name of before) if (!names.has(name)) this.#leave(audience, typeUrl, name, stream)
    for (const name of names) {
      if (before.has(name)) continue
      let entries = audience.entries.get(typeUrl)
      if (entries === undefined) {
        entries = new Map()
        audience.entries.set(typeUrl, entries)
      }
      let entry = entries.get(name)
      if (entry === undefined) {
        entry = { resource: this.#make(audience, typeUrl, name, undefined), streams: new Set() }
        entries.set(name, entry)
      }
      entry.streams.add(stream)
    }
  }

  /** Takes a new translation; returns the streams that have something to look at. */
  advance(translation: Translation): Set<DiscoveryStream> {
    this.#translation = translation
    this.#checked = new Map()
    this.#faults = new Set()
    const concerned = new Set<DiscoveryStream>()
    for (const audience of this.#audiences.values()) {
      for (const [typeUrl, entries] of audience.entries) {
        for (const [name, entry] of entries) {
          const next = this.#make(audience, typeUrl, name, entry.resource)
          if (next?.version !== entry.resource?.version) {
            for (const stream of entry.streams) {
              stream.suspect(typeUrl, name)
              concerned.add(stream)
            }
          }
          entry.resource = next
        }
      }
    }
    return concerned
  }

  /** Problems of the current translation that were found so far, for status. */
  get faults(): readonly string[] {
    return [...this.#faults]
  }

  #leave(audience: Audience, typeUrl: string, name: string, stream: DiscoveryStream): void {
    const entries = audience.entries.get(typeUrl)
    const entry = entries?.get(name)
    if (entries === undefined || entry === undefined) return
    entry.streams.delete(stream)
    if (entry.streams.size > 0) return
    entries.delete(name)
    if (entries.size === 0) audience.entries.delete(typeUrl)
  }

  #make(audience: Audience, typeUrl: string, name: string, last: EncodedResource | undefined) {
    const translation = this.#translation
    if (translation === null) return undefined
    try {
      const resource = translation.resolve(typeUrl, name, audience.view)
      if (resource === undefined || resource.version === last?.version) return resource
      const missing = this.#missing(translation, audience, typeUrl, name)
      if (missing === undefined) return resource
      this.#fault(`${shortType(typeUrl)} ${name} refers to ${missing}, which does not exist; held back`)
    } catch (error) {
      this.#fault(`${shortType(typeUrl)} ${name} cannot be made: ${String(error)}; kept as it was`)
    }
    return last
  }

  /** The first thing that is referred to, directly or not, and does not exist. */
  #missing(translation: Translation, audience: Audience, typeUrl: string, name: string): string | undefined {
    let checked = this.#checked.get(audience)
    if (checked === undefined) {
      checked = new Set()
      this.#checked.set(audience, checked)
    }
    const queue = [{ typeUrl, name }]
    const seen = new Set<string>()
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
      const key = `${item.typeUrl} ${item.name}`
      if (seen.has(key) || checked.has(key)) continue
      seen.add(key)
      if (translation.resolve(item.typeUrl, item.name, audience.view) === undefined)
        return `${shortType(item.typeUrl)} ${item.name}`
      queue.push(...translation.references(item.typeUrl, item.name, audience.view))
    }
    for (const key of seen) checked.add(key)
    return undefined
  }

  #fault(message: string): void {
    if (this.#faults.has(message)) return
    this.#faults.add(message)
    this.#logger.error(message, { revision: this.#translation?.revision })
  }
}

function keyOf(view: ClientView): string {
  return JSON.stringify([
    view.clientClass,
    view.namespace,
    view.serviceAccount,
    view.service,
    view.locality,
    Object.entries(view.labels).sort(([a], [b]) => (a < b ? -1 : 1)),
  ])
}

/** "Listener" of "type.googleapis.com/envoy.config.listener.v3.Listener". */
export function shortType(typeUrl: string): string {
  return typeUrl.slice(typeUrl.lastIndexOf('.') + 1)
}
