import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import type { Snapshot } from '../../src/model/snapshot.ts'
import { labelOf, resourceTypeOf } from '../../src/xds/resources/index.ts'
import type { Held } from '../../src/xds/subscription.ts'
import { type ResourceSource, WatchGraph } from '../../src/xds/watch.ts'
import type { ClientView, Translation } from '../translate/types.ts'

/** What a client asks for. */
export interface Wanted {
  /** As dialled, lower case. */
  readonly authorities?: readonly string[]
  /** Names of servers' listeners (`inboundListenerName`). */
  readonly inbound?: readonly string[]
}

export interface ClientSnapshot {
  readonly snapshot: Snapshot
  /** What the client would refuse or ignore, with the reason: none, unless this control plane is newer than its data plane. */
  readonly problems: readonly string[]
}

/**
 * The configuration that a client of this translation would have, made as the client makes it: its decoders read the
 * resources and its own graph follows them from listener to endpoints. No stream, no bytes on a wire.
 */
export function clientSnapshot(translation: Translation, client: ClientView, wanted: Wanted): ClientSnapshot {
  const source = new TranslatedResources(translation, client)
  const graph = new WatchGraph(source, () => undefined)
  for (const authority of wanted.authorities ?? []) graph.watchAuthority(authority)
  for (const name of wanted.inbound ?? []) graph.watchInbound(name)
  for (;;) {
    const { snapshot, subscribe } = graph.evaluate()
    if (snapshot === null && subscribe.length === 0) break
  }
  return { snapshot: graph.snapshot, problems: source.problems }
}

/** Everything is held at once: what there is, decoded, and what is missing as known to be so. */
class TranslatedResources implements ResourceSource {
  readonly problems: string[] = []
  readonly #translation: Translation
  readonly #client: ClientView
  readonly #held = new Map<string, Held>()

  constructor(translation: Translation, client: ClientView) {
    this.#translation = translation
    this.#client = client
  }

  held(typeUrl: string, name: string): Held {
    const key = `${typeUrl} ${name}`
    let held = this.#held.get(key)
    if (held === undefined) {
      held = this.#resolve(typeUrl, name)
      this.#held.set(key, held)
    }
    return held
  }

  #resolve(typeUrl: string, name: string): Held {
    const nothing = { version: '', bytes: null, value: undefined, warnings: [], error: '' }
    const times = {
      fromCache: false,
      updatedAt: 0,
      refused: null,
      dropped: false,
      seenOnStream: true,
      absentAt: Number.POSITIVE_INFINITY,
    }
    const base: Held = { name, state: 'DOES_NOT_EXIST', ...nothing, ...times, cacheAt: Number.POSITIVE_INFINITY }
    const resource = this.#translation.resolve(typeUrl, name, this.#client)
    if (resource === undefined) return base
    const bytes = fromBinary(AnySchema, resource.any).value
    try {
      const { value, warnings } = resourceTypeOf(typeUrl)!.decode(bytes)
      for (const warning of warnings) this.problems.push(`${labelOf(typeUrl)} ${name}: ${warning}`)
      return { ...base, state: 'ACKED', version: resource.version, bytes, value, warnings }
    } catch (error) {
      const { message } = error as Error
      this.problems.push(`${labelOf(typeUrl)} ${name} is refused: ${message}`)
      return { ...base, state: 'NACKED', error: message }
    }
  }
}
