import { isDeepStrictEqual } from 'node:util'
import type { Database } from './node-sqlite.ts'
import type { EndpointKey, EndpointRecord, ServiceRecord } from './store.ts'

interface Row {
  service: string
  ns: string
  address: string
  port: number
  labels: string
  locality: string
  weight: number
  spiffe_id: string
  health: EndpointRecord['health']
  instance_id: string
  /** '' = HTTP. */
  protocol: 'GRPC' | ''
}

/** Endpoints, and the services that ever had one. */
export function sqliteEndpoints(db: Database) {
  const all = db.prepare('SELECT * FROM endpoint ORDER BY ns, service, address, port')
  const one = db.prepare('SELECT * FROM endpoint WHERE service = ? AND ns = ? AND address = ? AND port = ?')
  const upsert = db.prepare(`
    INSERT INTO endpoint (service, ns, address, port, labels, locality, weight, spiffe_id, health, instance_id, protocol)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (service, ns, address, port) DO UPDATE SET labels = excluded.labels, locality = excluded.locality,
      weight = excluded.weight, spiffe_id = excluded.spiffe_id, health = excluded.health, instance_id = excluded.instance_id,
      protocol = excluded.protocol`)
  const remove = db.prepare('DELETE FROM endpoint WHERE service = ? AND ns = ? AND address = ? AND port = ?')
  const seen = db.prepare('INSERT INTO service (service, ns, first_seen_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
  const services = db.prepare(
    'SELECT service, ns AS namespace, first_seen_at AS firstSeenAt FROM service ORDER BY ns, service',
  )

  return {
    list: (): EndpointRecord[] => (all.all() as unknown as Row[]).map(toRecord),
    services: () => services.all() as unknown as ServiceRecord[],
    /** Returns whether anything differs now. */
    change(put: readonly EndpointRecord[], gone: readonly EndpointKey[], now: number): boolean {
      let changed = false
      for (const key of gone)
        changed = remove.run(key.service, key.namespace, key.address, key.port).changes > 0 || changed
      for (const e of put) {
        const before = one.get(e.service, e.namespace, e.address, e.port) as unknown as Row | undefined
        if (before !== undefined && isDeepStrictEqual(toRecord(before), e)) continue
        upsert.run(
          e.service,
          e.namespace,
          e.address,
          e.port,
          JSON.stringify(e.labels),
          e.locality,
          e.weight,
          e.spiffeId,
          e.health,
          e.instanceId,
          e.protocol ?? '',
        )
        seen.run(e.service, e.namespace, now)
        changed = true
      }
      return changed
    },
  }
}

function toRecord(row: Row): EndpointRecord {
  return {
    service: row.service,
    namespace: row.ns,
    address: row.address,
    port: row.port,
    labels: JSON.parse(row.labels),
    locality: row.locality,
    weight: row.weight,
    spiffeId: row.spiffe_id,
    health: row.health,
    instanceId: row.instance_id,
    ...(row.protocol === '' ? {} : { protocol: row.protocol }),
  }
}
