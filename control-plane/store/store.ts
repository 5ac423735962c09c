import { InmeshError } from '../../src/errors.ts'

/**
 * Where the control plane keeps everything: one small interface, one file per engine. All writes of one `apply` are
 * atomic and bump the one revision counter in the same transaction, so that a watcher that resumes from a cursor
 * misses nothing.
 */

/** Opaque; compare for equality only. */
export type Cursor = string

export interface ObjectKey {
  kind: string
  /** '' for kinds without namespace. */
  namespace: string
  name: string
}

/** A configuration object as it was accepted: validated, without defaults filled in. */
export interface StoredObject extends ObjectKey {
  apiVersion: string
  labels: Record<string, string>
  annotations: Record<string, string>
  spec: unknown
  uid: string
  /** Counts the changes of the spec. */
  generation: number
  /** Decimal revision of the last change. */
  revision: number
  /** Wall clock ms. */
  createdAt: number
  updatedAt: number
  updatedBy: string
}

export interface ObjectInput extends ObjectKey {
  apiVersion: string
  labels: Record<string, string>
  annotations: Record<string, string>
  spec: unknown
}

export type StoreOp =
  /** `ifRevision`: only if the object is at this revision (null = does not exist), else Conflict. */
  { put: ObjectInput; ifRevision?: number | null } | { delete: ObjectKey; ifRevision?: number }

export interface ApplyResult {
  cursor: Cursor
  results: { key: ObjectKey; change: 'created' | 'configured' | 'unchanged' | 'deleted' | 'not found' }[]
}

export type Change =
  | { type: 'put'; object: StoredObject; cursor: Cursor }
  | { type: 'delete'; key: ObjectKey; cursor: Cursor }
  /** Endpoints or services changed; read them with `snapshot()`. */
  | { type: 'endpoints'; cursor: Cursor }
  | { type: 'bookmark'; cursor: Cursor }

/** ServiceEndpoint of the mission's tables, with what routing needs besides. */
export interface EndpointRecord {
  service: string
  namespace: string
  address: string
  port: number
  labels: Record<string, string>
  locality: string
  weight: number
  spiffeId: string
  health: 'HEALTHY' | 'UNHEALTHY' | 'DRAINING'
  /** It speaks gRPC and nothing else; absent = HTTP. */
  protocol?: 'GRPC'
  /** Whose stream holds it. */
  instanceId: string
}

/** A service that has ever had an endpoint; it stays known when the last one leaves (503, never a DNS fall-back). */
export interface ServiceRecord {
  service: string
  namespace: string
  firstSeenAt: number
}

export interface StoreSnapshot {
  revision: number
  cursor: Cursor
  objects: StoredObject[]
  endpoints: EndpointRecord[]
  services: ServiceRecord[]
}

/** CertificateRecord of the mission's tables. */
export interface CertificateRecord {
  serial: string
  service: string
  spiffeId: string
  certificatePem: string
  /** 'csr' when the key never left the workload, else an AES-256-GCM envelope (base64). */
  privateKey: string
  issuedAt: number
  expiresAt: number
  /** How the requester proved its identity: "join-token:<id>", "certificate:<serial>", "admin". */
  requester: string
}

export interface TokenRecord {
  /** Public name of the token, for audit. */
  id: string
  /** SHA-256 of the secret, hex; the secret itself is never stored. */
  secretHash: string
  service: string
  namespace: string
  serviceAccount: string
  createdAt: number
  expiresAt: number
  usedAt: number | null
}

export interface AuditRecord {
  at: number
  actor: string
  verb: string
  subject: string
  detail: string
  result: 'ok' | 'refused'
}

export interface Store {
  /** Objects, endpoints and services of one revision, read in one transaction. */
  snapshot(): Promise<StoreSnapshot>
  list(selector?: { kind?: string; namespace?: string }): Promise<{ items: StoredObject[]; cursor: Cursor }>
  get(key: ObjectKey): Promise<StoredObject | undefined>
  /** Atomic. Throws StoreConflict when an `ifRevision` does not hold. `dryRun` says what would happen. */
  apply(ops: readonly StoreOp[], meta: { actor: string; dryRun?: boolean }): Promise<ApplyResult>
  /**
   * Every change after `from`, then live, until `signal` aborts. A bookmark says that what was stored at the start has
   * been delivered. Throws CursorExpired when `from` is too old: list again. Changes of one transaction carry the cursor
   * of the one before until the last of them, so that whoever resumes inside sees all of them again.
   */
  watch(from: Cursor, signal: AbortSignal): AsyncIterable<Change>
  endpoints: {
    /** Upserts and removes in one transaction; the revision moves only if something differs. */
    change(put: readonly EndpointRecord[], remove: readonly EndpointKey[]): Promise<Cursor>
    list(): Promise<EndpointRecord[]>
  }
  certificates: {
    record(record: CertificateRecord): Promise<void>
    list(selector?: { service?: string; spiffeId?: string }): Promise<CertificateRecord[]>
  }
  tokens: {
    create(record: TokenRecord): Promise<void>
    /** Marks the token used, once: of parallel calls exactly one gets the record. */
    consume(secretHash: string, now: number): Promise<TokenRecord | 'unknown' | 'used' | 'expired'>
    list(): Promise<TokenRecord[]>
  }
  audit: {
    append(record: AuditRecord): Promise<void>
    list(limit: number): Promise<AuditRecord[]>
  }
  close(): Promise<void>
}

export type EndpointKey = Pick<EndpointRecord, 'service' | 'namespace' | 'address' | 'port'>

export class CursorExpired extends Error {
  constructor(cursor: Cursor) {
    super(`cursor ${cursor} is older than what the store remembers; list again`)
    this.name = 'CursorExpired'
  }
}

/** A write whose `ifRevision` did not hold: somebody else was faster. Read again, then decide. */
export class StoreConflict extends InmeshError {
  readonly key: ObjectKey
  /** What the object is at; null = it does not exist. */
  readonly actual: number | null
  constructor(key: ObjectKey, expected: number | null, actual: number | null) {
    const say = (revision: number | null) => (revision === null ? 'not to exist' : `at revision ${revision}`)
    super(
      'ERR_INMESH_STORE',
      `${key.kind}/${key.namespace}/${key.name} was expected ${say(expected)} but ${actual === null ? 'does not exist' : `is at revision ${actual}`}`,
    )
    this.name = 'StoreConflict'
    this.key = key
    this.actual = actual
  }
}
