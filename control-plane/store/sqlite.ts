import type { StatementSync } from 'node:sqlite'
import type { Database } from './node-sqlite.ts'
import { guarded, openDatabase, readTransaction, transaction } from './sqlite-database.ts'
import { sqliteEndpoints } from './sqlite-endpoints.ts'
import { sqliteObjects } from './sqlite-objects.ts'
import { sqliteRecords } from './sqlite-records.ts'
import {
  type ApplyResult,
  type AuditRecord,
  type CertificateRecord,
  type Change,
  type Cursor,
  CursorExpired,
  type EndpointKey,
  type EndpointRecord,
  type ObjectKey,
  type Store,
  type StoredObject,
  type StoreOp,
  type StoreSnapshot,
  type TokenRecord,
} from './store.ts'
import { Wakeup } from './wakeup.ts'

export interface SqliteStoreOptions {
  /** File, or ":memory:". */
  readonly path: string
  /** ms between looks for writes of other processes while somebody watches. Default 50. */
  readonly pollMs?: number
  /** How many revisions a deletion is remembered for watchers that resume. Default 10,000. */
  readonly remember?: number
  /** Wall clock in ms. Default Date.now. */
  readonly now?: () => number
}

/**
 * The embedded store: one file, written with a sync per commit, safe for several processes of one machine. What a
 * promise acknowledged survives kill -9 and a power cut. Calls are answered in order and block the loop while they run
 * (about 0.1 ms for a write).
 */
export class SqliteStore implements Store {
  readonly #db: Database
  readonly #objects: ReturnType<typeof sqliteObjects>
  readonly #endpoints: ReturnType<typeof sqliteEndpoints>
  readonly #records: ReturnType<typeof sqliteRecords>
  readonly #statements: { meta: StatementSync; setMeta: StatementSync; dataVersion: StatementSync }
  readonly #pollMs: number
  readonly #remember: number
  readonly #now: () => number
  readonly #wakeup = new Wakeup()
  readonly #closing = new AbortController()
  #watchers = 0
  #poll: NodeJS.Timeout | undefined
  #dataVersion = -1

  constructor(options: SqliteStoreOptions) {
    this.#pollMs = options.pollMs ?? 50
    this.#remember = options.remember ?? 10_000
    this.#now = options.now ?? Date.now
    this.#db = openDatabase(options.path)
    this.#statements = {
      meta: this.#db.prepare('SELECT v FROM meta WHERE k = ?'),
      setMeta: this.#db.prepare('UPDATE meta SET v = ? WHERE k = ?'),
      dataVersion: this.#db.prepare('PRAGMA data_version'),
    }
    this.#objects = sqliteObjects(this.#db)
    this.#endpoints = sqliteEndpoints(this.#db)
    this.#records = sqliteRecords(this.#db)
  }

  async snapshot(): Promise<StoreSnapshot> {
    return this.#read('cannot read the store', () => {
      const revision = this.#meta('rev')
      return {
        revision,
        cursor: String(revision),
        objects: this.#objects.list(),
        endpoints: this.#endpoints.list(),
        services: this.#endpoints.services(),
      }
    })
  }

  async list(selector: { kind?: string; namespace?: string } = {}): Promise<{ items: StoredObject[]; cursor: Cursor }> {
    return this.#read('cannot list objects', () => ({
      cursor: String(this.#meta('rev')),
      items: this.#objects
        .list()
        .filter(
          (o) =>
            (selector.kind === undefined || o.kind === selector.kind) &&
            (selector.namespace === undefined || o.namespace === selector.namespace),
        ),
    }))
  }

  async get(key: ObjectKey): Promise<StoredObject | undefined> {
    return guarded(`cannot read ${key.kind}/${key.namespace}/${key.name}`, () => this.#objects.get(key))
  }

  async apply(ops: readonly StoreOp[], meta: { actor: string; dryRun?: boolean }): Promise<ApplyResult> {
    const result = guarded('cannot write to the store', () =>
      transaction(
        this.#db,
        () => {
          const before = this.#meta('rev')
          const revision = this.#revision()
          const results = ops.map((op) => this.#objects.apply(op, revision.next, this.#now(), meta.actor))
          this.#compact(revision.current())
          return { results, cursor: String(meta.dryRun === true ? before : revision.current()) }
        },
        meta.dryRun === true ? 'ROLLBACK' : 'COMMIT',
      ),
    )
    this.#wakeup.ring()
    return result
  }

  async *watch(from: Cursor, signal: AbortSignal): AsyncGenerator<Change> {
    const stop = AbortSignal.any([signal, this.#closing.signal])
    let cursor = Number(from)
    let caughtUp = false
    this.#startPolling()
    try {
      while (!stop.aborted) {
        const seen = this.#wakeup.count
        const { changes, revision } = this.#changesAfter(cursor, from)
        for (const change of changes) {
          yield change
          if (stop.aborted) return
        }
        cursor = revision
        if (!caughtUp) yield { type: 'bookmark', cursor: String(cursor) }
        caughtUp = true
        await this.#wakeup.after(seen, stop)
      }
    } finally {
      this.#stopPolling()
    }
  }

  readonly endpoints = {
    change: async (put: readonly EndpointRecord[], remove: readonly EndpointKey[]): Promise<Cursor> =>
      guarded('cannot write endpoints', () => {
        const cursor = transaction(this.#db, () => {
          const revision = this.#revision()
          if (this.#endpoints.change(put, remove, this.#now())) this.#setMeta('endpoints', revision.next())
          return String(revision.current())
        })
        this.#wakeup.ring()
        return cursor
      }),
    list: async (): Promise<EndpointRecord[]> => guarded('cannot list endpoints', () => this.#endpoints.list()),
  }

  readonly certificates = {
    record: async (record: CertificateRecord): Promise<void> =>
      guarded(`cannot record certificate ${record.serial}`, () => this.#records.recordCertificate(record)),
    list: async (selector: { service?: string; spiffeId?: string } = {}): Promise<CertificateRecord[]> =>
      guarded('cannot list certificates', () => this.#records.listCertificates(selector)),
  }

  readonly tokens = {
    create: async (record: TokenRecord): Promise<void> =>
      guarded(`cannot store token ${record.id}`, () => this.#records.createToken(record)),
    consume: async (secretHash: string, now: number): Promise<TokenRecord | 'unknown' | 'used' | 'expired'> =>
      guarded('cannot use a token', () => transaction(this.#db, () => this.#records.consumeToken(secretHash, now))),
    list: async (): Promise<TokenRecord[]> => guarded('cannot list tokens', () => this.#records.listTokens()),
  }

  readonly audit = {
    append: async (record: AuditRecord): Promise<void> =>
      guarded('cannot write the audit log', () => this.#records.appendAudit(record)),
    list: async (limit: number): Promise<AuditRecord[]> =>
      guarded('cannot read the audit log', () => this.#records.listAudit(limit)),
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return
    this.#closing.abort()
    clearInterval(this.#poll)
    guarded('cannot close the store', () => this.#db.close())
  }

  #read<T>(doing: string, work: () => T): T {
    return guarded(doing, () => readTransaction(this.#db, work))
  }

  #changesAfter(cursor: number, from: Cursor): { changes: Change[]; revision: number } {
    return this.#read('cannot watch the store', () => {
      const revision = this.#meta('rev')
      if (!(cursor >= this.#meta('floor') && cursor <= revision)) throw new CursorExpired(from)
      const found: { revision: number; change: Change }[] = this.#objects.since(cursor).map((c) => {
        const { kind, namespace, name } = c.object
        const change: Change = c.deleted
          ? { type: 'delete', key: { kind, namespace, name }, cursor: '' }
          : { type: 'put', object: c.object, cursor: '' }
        return { revision: c.revision, change }
      })
      const endpoints = this.#meta('endpoints')
      if (endpoints > cursor) found.push({ revision: endpoints, change: { type: 'endpoints', cursor: '' } })
      found.sort((a, b) => a.revision - b.revision)
      let complete = cursor
      found.forEach((item, index) => {
        if (found[index + 1]?.revision !== item.revision) complete = item.revision
        item.change.cursor = String(complete)
      })
      return { changes: found.map((item) => item.change), revision }
    })
  }

  /** `next` bumps the counter the first time it is called; `current` is where the counter stands. */
  #revision(): { next: () => number; current: () => number } {
    let revision = this.#meta('rev')
    let bumped = false
    return {
      next: () => {
        if (!bumped) this.#setMeta('rev', ++revision)
        bumped = true
        return revision
      },
      current: () => revision,
    }
  }

  /** Forgets old deletions now and then, and raises the floor so that nobody resumes from before them. */
  #compact(revision: number): void {
    const horizon = revision - this.#remember
    if (horizon <= this.#meta('floor') + this.#remember / 10) return
    if (this.#objects.purge(horizon) > 0) this.#setMeta('floor', horizon)
  }

  #meta(key: 'rev' | 'floor' | 'endpoints'): number {
    return Number(this.#statements.meta.get(key)?.v)
  }

  #setMeta(key: 'rev' | 'floor' | 'endpoints', value: number): void {
    this.#statements.setMeta.run(value, key)
  }

  /** data_version changes when another connection, of this or another process, has committed. */
  #startPolling(): void {
    this.#watchers++
    this.#poll ??= setInterval(() => {
      const version = this.#readDataVersion()
      if (version === this.#dataVersion) return
      this.#dataVersion = version
      this.#wakeup.ring()
    }, this.#pollMs)
  }

  #readDataVersion(): number {
    try {
      return Number(this.#statements.dataVersion.get()?.data_version)
    } catch {
      // A timer has nobody to throw to. NaN differs from every version: the watchers wake, read and meet the error.
      return Number.NaN
    }
  }

  #stopPolling(): void {
    if (--this.#watchers > 0) return
    clearInterval(this.#poll)
    this.#poll = undefined
  }
}
