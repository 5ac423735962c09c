import { randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Database } from './node-sqlite.ts'
import {
  type ApplyResult,
  type ObjectInput,
  type ObjectKey,
  StoreConflict,
  type StoredObject,
  type StoreOp,
} from './store.ts'

interface Row {
  kind: string
  ns: string
  name: string
  api_version: string
  uid: string
  generation: number
  rev: number
  deleted: number
  labels: string
  annotations: string
  spec: string
  created_at: number
  updated_at: number
  updated_by: string
}

export interface ObjectChange {
  revision: number
  deleted: boolean
  object: StoredObject
}

/** Configuration objects; deleted ones stay as tombstones, so that watchers that were away learn of them. */
export function sqliteObjects(db: Database) {
  const byKey = db.prepare('SELECT * FROM resource WHERE kind = ? AND ns = ? AND name = ?')
  const all = db.prepare('SELECT * FROM resource WHERE deleted = 0 ORDER BY kind, ns, name')
  const since = db.prepare('SELECT * FROM resource WHERE rev > ? ORDER BY rev, id')
  const upsert = db.prepare(`
    INSERT INTO resource (kind, ns, name, api_version, uid, generation, rev, deleted, labels, annotations, spec, created_at, updated_at, updated_by)
    VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (kind, ns, name) DO UPDATE SET api_version = excluded.api_version, uid = excluded.uid, generation = excluded.generation,
      rev = excluded.rev, deleted = 0, labels = excluded.labels, annotations = excluded.annotations, spec = excluded.spec,
      created_at = excluded.created_at, updated_at = excluded.updated_at, updated_by = excluded.updated_by`)
  const bury = db.prepare(
    'UPDATE resource SET deleted = 1, rev = ?, updated_at = ?, updated_by = ? WHERE kind = ? AND ns = ? AND name = ?',
  )
  const purge = db.prepare('DELETE FROM resource WHERE deleted = 1 AND rev <= ?')

  const row = (key: ObjectKey) => byKey.get(key.kind, key.namespace, key.name) as unknown as Row | undefined
  const live = (key: ObjectKey) => {
    const found = row(key)
    return found === undefined || found.deleted === 1 ? undefined : toObject(found)
  }

  function put(input: ObjectInput, revision: () => number, now: number, actor: string) {
    const before = live(input)
    const same =
      before !== undefined &&
      before.apiVersion === input.apiVersion &&
      isDeepStrictEqual(
        [before.spec, before.labels, before.annotations],
        plain([input.spec, input.labels, input.annotations]),
      )
    if (same) return 'unchanged' as const
    const specChanged = before === undefined || !isDeepStrictEqual(before.spec, plain(input.spec))
    upsert.run(
      input.kind,
      input.namespace,
      input.name,
      input.apiVersion,
      before?.uid ?? randomUUID(),
      (before?.generation ?? 0) + (specChanged ? 1 : 0),
      revision(),
      JSON.stringify(input.labels),
      JSON.stringify(input.annotations),
      JSON.stringify(input.spec),
      before?.createdAt ?? now,
      now,
      actor,
    )
    return before === undefined ? ('created' as const) : ('configured' as const)
  }

  return {
    get: live,
    list: () => (all.all() as unknown as Row[]).map(toObject),
    since: (revision: number): ObjectChange[] =>
      (since.all(revision) as unknown as Row[]).map((r) => ({
        revision: r.rev,
        deleted: r.deleted === 1,
        object: toObject(r),
      })),
    /** Forgets tombstones up to `revision`; returns how many. */
    purge: (revision: number) => Number(purge.run(revision).changes),
    /** `revision` gives the revision of this write, bumping the counter at the first call. */
    apply(op: StoreOp, revision: () => number, now: number, actor: string): ApplyResult['results'][number] {
      const { kind, namespace, name } = 'put' in op ? op.put : op.delete
      const key = { kind, namespace, name }
      if (op.ifRevision !== undefined) {
        const actual = live(key)?.revision ?? null
        if (actual !== op.ifRevision) throw new StoreConflict(key, op.ifRevision, actual)
      }
      if ('put' in op) return { key, change: put(op.put, revision, now, actor) }
      if (live(key) === undefined) return { key, change: 'not found' }
      bury.run(revision(), now, actor, kind, namespace, name)
      return { key, change: 'deleted' }
    },
  }
}

/** What JSON keeps of a value: comparing anything else would call an object changed for ever. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

function toObject(row: Row): StoredObject {
  return {
    kind: row.kind,
    namespace: row.ns,
    name: row.name,
    apiVersion: row.api_version,
    labels: JSON.parse(row.labels),
    annotations: JSON.parse(row.annotations),
    spec: JSON.parse(row.spec),
    uid: row.uid,
    generation: row.generation,
    revision: row.rev,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
    updatedBy: row.updated_by,
  }
}
