import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from '../../src/model/logger.ts'
import type { Cursor, EndpointRecord, Store } from '../store/store.ts'
import type { LeaseChange } from './leases.ts'

/** Wait after a failed write, ms. */
const RETRY = 500

/**
 * Writes endpoint changes in order, several in one transaction while an earlier one is under way. What could not be
 * written is kept and tried again, so that the store ends up with what the leases say.
 */
export class EndpointWriter {
  readonly #store: Pick<Store, 'endpoints'>
  readonly #logger: Logger
  readonly #onUrgent: () => void
  #pending = new Map<string, { record: EndpointRecord; gone: boolean }>()
  #writing: Promise<Cursor> | null = null
  #closed = false

  /** `onUrgent` is called after a write by which an endpoint left or stopped taking calls. */
  constructor(store: Pick<Store, 'endpoints'>, logger: Logger, onUrgent: () => void) {
    this.#store = store
    this.#logger = logger
    this.#onUrgent = onUrgent
  }

  /** Settles with the cursor of a state that contains the change. */
  async write(change: LeaseChange): Promise<Cursor> {
    for (const record of change.remove) this.#pending.set(keyOf(record), { record, gone: true })
    for (const record of change.put) this.#pending.set(keyOf(record), { record, gone: false })
    // A write under way may have been too early for this change; the one after it is not.
    while (this.#writing !== null) await this.#writing
    this.#writing = this.#flush().finally(() => {
      this.#writing = null
    })
    return this.#writing
  }

  /** Waits for what is under way; nothing is written after. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#writing?.catch(() => undefined)
  }

  async #flush(): Promise<Cursor> {
    for (;;) {
      const batch = this.#pending
      this.#pending = new Map()
      const items = [...batch.values()]
      try {
        const put = items.filter((i) => !i.gone).map((i) => i.record)
        const remove = items.filter((i) => i.gone).map((i) => i.record)
        const cursor = await this.#store.endpoints.change(put, remove)
        if (remove.length > 0 || put.some((r) => r.health !== 'HEALTHY')) this.#onUrgent()
        return cursor
      } catch (error) {
        if (this.#closed) throw error
        this.#logger.error('endpoints cannot be written; trying again', { error, endpoints: items.length })
        // What came meanwhile is newer.
        this.#pending = new Map([...batch, ...this.#pending])
        await sleep(RETRY)
      }
    }
  }
}

function keyOf(record: EndpointRecord): string {
  return `${record.namespace}/${record.service}/${record.address}/${record.port}`
}
