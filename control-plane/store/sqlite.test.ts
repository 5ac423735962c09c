import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { sqliteMigrations } from './migrations/index.ts'
import { SqliteStore } from './sqlite.ts'
import { openDatabase } from './sqlite-database.ts'
import { endpoint, object, read, storeCases } from './store.cases.ts'

storeCases('SqliteStore', () => {
  const folder = mkdtempSync(join(tmpdir(), 'inmesh-store-'))
  return {
    open: (options) => new SqliteStore({ path: join(folder, 'mesh.db'), pollMs: 5, ...options }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  }
})

describe('SqliteStore on disk', () => {
  let folder: string
  let path: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'inmesh-store-'))
    path = join(folder, 'new', 'mesh.db')
  })
  afterEach(() => {
    rmSync(folder, { recursive: true, force: true })
  })

  const writer = (prefix: string, count: number) => {
    const script = join(import.meta.dirname, 'testing/writer.ts')
    const child = spawn(process.execPath, [script, path, prefix, String(count)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
    })
    /** The last number of a whole line: what was acknowledged. */
    const acknowledged = () => Number(output.slice(0, output.lastIndexOf('\n')).split('\n').at(-1) || 0)
    return { child, acknowledged }
  }

  it('loses no acknowledged write when the process is killed', async () => {
    let total = 0
    for (let round = 0; round < 3; round++) {
      const { child, acknowledged } = writer(`round${round}`, 0)
      while (acknowledged() < 40 + 25 * round) await once(child.stdout, 'data')
      child.kill('SIGKILL')
      await once(child, 'close')
      const store = new SqliteStore({ path })
      const { objects, revision } = await store.snapshot()
      const own = objects.filter((o) => o.updatedBy === `round${round}`)
      expect(own.length).toBeGreaterThanOrEqual(acknowledged())
      // At most the one write that was under way when the kill came.
      expect(own.length).toBeLessThanOrEqual(acknowledged() + 1)
      total += own.length
      expect(revision).toBe(total)
      await store.close()
    }
    const db = new DatabaseSync(path)
    expect(db.prepare('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
    db.close()
  })

  it('lets two processes write and a third see every change once', async () => {
    const store = new SqliteStore({ path, pollMs: 5 })
    const seen = read(store, '0', 300)
    const writers = [writer('a', 150), writer('b', 150)]
    await Promise.all(writers.map(({ child }) => once(child, 'close')))
    const changes = await seen
    const names = changes.map((c) => (c.type === 'put' ? c.object.name : c.type))
    expect(new Set(names).size).toBe(300)
    expect(changes.map((c) => Number(c.cursor))).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    await store.close()
  })

  it('is readable by its owner only', async () => {
    const store = new SqliteStore({ path })
    await store.apply([{ put: object('a') }], { actor: 'x' })
    for (const file of [path, `${path}-wal`, `${path}-shm`])
      if (existsSync(file)) expect(statSync(file).mode & 0o777, file).toBe(0o600)
    await store.close()
  })

  it('syncs every commit to the disk', () => {
    const db = openDatabase(path)
    expect(db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' })
    // 2 = FULL.
    expect(db.prepare('PRAGMA synchronous').get()).toEqual({ synchronous: 2 })
    db.close()
  })

  it('says which schema it found when the file comes from a newer version', async () => {
    await new SqliteStore({ path }).close()
    const db = new DatabaseSync(path)
    db.exec(`PRAGMA user_version = ${sqliteMigrations.length + 1}`)
    db.close()
    const known = sqliteMigrations.length
    const message = `schema ${known + 1}; this version of inmesh knows up to ${known}`
    expect(() => new SqliteStore({ path })).toThrow(message)
  })

  it('keeps what a store of the first schema holds', async () => {
    const old = new DatabaseSync(join(folder, 'old.db'))
    old.exec(sqliteMigrations[0]!)
    old.exec(`INSERT INTO endpoint VALUES
      ('payments', 'default', '10.0.0.1', 8080, '{"app":"payments","version":"v1"}', 'eu/a', 1,
       'spiffe://cluster.local/ns/default/sa/payments', 'HEALTHY', 'i1')`)
    old.exec('PRAGMA user_version = 1')
    old.close()
    const store = new SqliteStore({ path: join(folder, 'old.db') })
    expect(await store.endpoints.list()).toEqual([endpoint('10.0.0.1')])
    await store.close()
  })

  it('turns what the disk says into an error that names the file', () => {
    const bad = join(folder, 'bad.db')
    writeFileSync(bad, 'this is not a database, whatever its name says'.repeat(100))
    expect(() => new SqliteStore({ path: bad })).toThrow(
      expect.objectContaining({ code: 'ERR_INMESH_STORE', message: expect.stringContaining(bad) }),
    )
    expect(() => new SqliteStore({ path: join(bad, 'below-a-file.db') })).toThrow(
      expect.objectContaining({ code: 'ERR_INMESH_STORE' }),
    )
  })

  it('refuses a write when the disk is full and keeps what was there', async () => {
    const store = new SqliteStore({ path })
    await store.apply([{ put: object('a') }], { actor: 'x' })
    const db = new DatabaseSync(path)
    // Page limits count per connection, so the full disk is played by a trigger that raises it.
    db.exec(`CREATE TRIGGER full BEFORE INSERT ON resource BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END`)
    await expect(store.apply([{ put: object('b') }], { actor: 'x' })).rejects.toMatchObject({
      code: 'ERR_INMESH_STORE',
      message: 'cannot write to the store: database or disk is full',
    })
    db.exec('DROP TRIGGER full')
    db.close()
    expect((await store.apply([{ put: object('c') }], { actor: 'x' })).cursor).toBe('2')
    await store.close()
  })

  it('tells watchers when the database can no longer be read', async () => {
    const store = new SqliteStore({ path, pollMs: 5 })
    const db = new DatabaseSync(path)
    const watching = read(store, '0', 1)
    db.exec('DROP TABLE resource')
    await expect(watching).rejects.toMatchObject({ code: 'ERR_INMESH_STORE' })
    db.close()
    await store.close()
  })

  it("shows the mission's tables under their names and columns", async () => {
    const store = new SqliteStore({ path, now: () => Date.UTC(2026, 0, 2, 3, 4, 5) })
    await store.apply(
      [
        { put: object('a', { service: 'payments', timeoutMs: 800 }, 'ServicePolicy') },
        {
          put: object(
            'b',
            { destinationService: 'payments', v2Weight: 5, v1Weight: 95, headerMatch: { 'x-canary': 'true' } },
            'TrafficSplit',
          ),
        },
        { put: object('gone', { destinationService: 'x' }, 'TrafficSplit') },
        { delete: object('gone', {}, 'TrafficSplit') },
      ],
      { actor: 'x' },
    )
    await store.endpoints.change([endpoint('10.0.0.1'), endpoint('10.0.0.2', { health: 'UNHEALTHY', labels: {} })], [])
    await store.certificates.record({
      ...{ serial: '01', service: 'payments', spiffeId: 'spiffe://td/x', certificatePem: 'PEM', privateKey: 'csr' },
      ...{ issuedAt: 0, expiresAt: 86_400_000, requester: 'admin' },
    })
    const db = new DatabaseSync(path, { readOnly: true })
    const table = (name: string) =>
      db
        .prepare(`SELECT * FROM ${name}`)
        .all()
        .map((row) => ({ ...row }))
    const updated_at = '2026-01-02T03:04:05.000Z'
    expect(table('ServicePolicy')).toEqual([
      { service_name: 'payments', retry_attempts: 3, timeout_ms: 800, cb_threshold: 50, cb_window_sec: 30, updated_at },
    ])
    expect(table('TrafficSplit')).toEqual([
      {
        ...{ id: 2, source_service: null, destination_service: 'payments', v1_weight: 95, v2_weight: 5 },
        ...{ header_match: '{"x-canary":"true"}', updated_at },
      },
    ])
    expect(table('ServiceEndpoint')).toEqual([
      { service_name: 'payments', pod_ip: '10.0.0.1', port: 8080, version: 'v1', healthy: 1 },
      { service_name: 'payments', pod_ip: '10.0.0.2', port: 8080, version: null, healthy: 0 },
    ])
    expect(table('CertificateRecord')).toEqual([
      {
        ...{ service_name: 'payments', cert_pem: 'PEM', private_key: 'csr' },
        ...{ expiry: '1970-01-02T00:00:00.000Z', issued_at: '1970-01-01T00:00:00.000Z' },
      },
    ])
    db.close()
    await store.close()
  })
})
