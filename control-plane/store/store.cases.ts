import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import {
  type Change,
  CursorExpired,
  type EndpointRecord,
  type ObjectInput,
  type Store,
  StoreConflict,
} from './store.ts'

export interface StoreUnderTest {
  /** Opens the store; called again with the same name it opens the same data, as another process would. */
  open(options?: { remember?: number; now?: () => number }): Store
  /** Removes the data. */
  remove(): void
}

export function object(name: string, spec: unknown = {}, kind = 'VirtualService'): ObjectInput {
  return { kind, namespace: 'default', name, apiVersion: 'v1', labels: {}, annotations: {}, spec }
}

export function endpoint(address: string, more: Partial<EndpointRecord> = {}): EndpointRecord {
  return {
    ...{ service: 'payments', namespace: 'default', address, port: 8080, labels: { app: 'payments', version: 'v1' } },
    ...{ locality: 'eu/a', weight: 1, spiffeId: 'spiffe://cluster.local/ns/default/sa/payments' },
    ...{ health: 'HEALTHY' as const, instanceId: 'i1', ...more },
  }
}

/** Reads changes until `count` of them are there, or a bookmark when no count is given. */
export async function read(store: Store, from: string, count?: number): Promise<Change[]> {
  const stop = new AbortController()
  const changes: Change[] = []
  for await (const change of store.watch(from, stop.signal)) {
    if (change.type === 'bookmark' && count === undefined) break
    if (change.type !== 'bookmark') changes.push(change)
    if (changes.length === count) break
  }
  stop.abort()
  return changes
}

const actor = { actor: 'test' }

/** What every store must do; each engine runs the same table. */
export function storeCases(name: string, prepare: () => StoreUnderTest): void {
  describe(name, () => {
    let under: StoreUnderTest
    let opened: Store[]
    const open = (options?: Parameters<StoreUnderTest['open']>[0]) => {
      const store = under.open(options)
      opened.push(store)
      return store
    }
    beforeEach(() => {
      under = prepare()
      opened = []
    })
    afterEach(async () => {
      for (const store of opened) await store.close()
      under.remove()
    })

    it('keeps objects with what it adds to them', async () => {
      const store = open({ now: () => 1_000 })
      const applied = await store.apply([{ put: { ...object('a', { x: [1] }), labels: { l: 'v' } } }], { actor: 'me' })
      expect(applied.results.map((r) => r.change)).toEqual(['created'])
      const found = await store.get(object('a'))
      expect(found).toMatchObject({
        name: 'a',
        spec: { x: [1] },
        labels: { l: 'v' },
        generation: 1,
        createdAt: 1_000,
        updatedAt: 1_000,
        updatedBy: 'me',
      })
      expect(found?.uid).not.toBe('')
    })

    it('gives all writes of one apply one revision, and counts up by one', async () => {
      const store = open()
      await store.apply([{ put: object('a') }, { put: object('b') }], actor)
      await store.apply([{ put: object('c') }], actor)
      const { revision, objects } = await store.snapshot()
      expect(objects.map((o) => [o.name, o.revision])).toEqual([
        ['a', 1],
        ['b', 1],
        ['c', 2],
      ])
      expect(revision).toBe(2)
    })

    it('leaves the revision alone when nothing differs', async () => {
      const store = open()
      const first = await store.apply([{ put: object('a', { x: 1, y: undefined }) }], actor)
      const second = await store.apply([{ put: object('a', { x: 1 }) }, { delete: object('ghost') }], actor)
      expect(second.results.map((r) => r.change)).toEqual(['unchanged', 'not found'])
      expect(second.cursor).toBe(first.cursor)
    })

    it('counts generations by changes of the spec only', async () => {
      const store = open()
      await store.apply([{ put: object('a', { x: 1 }) }], actor)
      await store.apply([{ put: { ...object('a', { x: 1 }), labels: { new: 'label' } } }], actor)
      expect(await store.get(object('a'))).toMatchObject({ generation: 1, revision: 2 })
      await store.apply([{ put: object('a', { x: 2 }) }], actor)
      expect(await store.get(object('a'))).toMatchObject({ generation: 2, revision: 3 })
    })

    it('forgets a deleted object and starts anew when it comes back', async () => {
      const store = open()
      await store.apply([{ put: object('a', { x: 1 }) }], actor)
      const before = await store.get(object('a'))
      expect((await store.apply([{ delete: object('a') }], actor)).results[0]?.change).toBe('deleted')
      expect(await store.get(object('a'))).toBeUndefined()
      expect((await store.list()).items).toEqual([])
      await store.apply([{ put: object('a', { x: 1 }) }], actor)
      const after = await store.get(object('a'))
      expect(after?.generation).toBe(1)
      expect(after?.uid).not.toBe(before?.uid)
    })

    it('applies all of a batch or nothing of it', async () => {
      const store = open()
      await store.apply([{ put: object('a', 1) }], actor)
      const batch = store.apply(
        [{ put: object('a', 2) }, { put: object('b') }, { put: object('c'), ifRevision: 7 }],
        actor,
      )
      await expect(batch).rejects.toThrow(StoreConflict)
      expect(await store.get(object('a'))).toMatchObject({ spec: 1, revision: 1 })
      expect(await store.get(object('b'))).toBeUndefined()
      expect((await store.snapshot()).revision).toBe(1)
    })

    it.each([
      ['a put of what does not exist', { put: object('x'), ifRevision: null }, true],
      ['a put of what exists as if it did not', { put: object('a'), ifRevision: null }, false],
      ['a put at the right revision', { put: object('a', 2), ifRevision: 1 }, true],
      ['a put at another revision', { put: object('a', 2), ifRevision: 2 }, false],
      ['a delete at the right revision', { delete: object('a'), ifRevision: 1 }, true],
      ['a delete at another revision', { delete: object('a'), ifRevision: 9 }, false],
      ['a delete of what does not exist', { delete: object('x'), ifRevision: 1 }, false],
    ])('checks ifRevision: %s', async (_, op, passes) => {
      const store = open()
      await store.apply([{ put: object('a', 1) }], actor)
      const outcome = store.apply([op], actor)
      if (passes) await outcome
      else await expect(outcome).rejects.toMatchObject({ code: 'ERR_INMESH_STORE', name: 'StoreConflict' })
    })

    it('says in a dry run what would happen, and does nothing', async () => {
      const store = open()
      const { cursor } = await store.apply([{ put: object('a', 1) }], actor)
      const dry = await store.apply([{ put: object('a', 2) }, { put: object('b') }, { delete: object('a') }], {
        actor: 'x',
        dryRun: true,
      })
      expect(dry.results.map((r) => r.change)).toEqual(['configured', 'created', 'deleted'])
      expect(dry.cursor).toBe(cursor)
      expect((await store.snapshot()).objects).toHaveLength(1)
      expect(await store.get(object('a'))).toMatchObject({ spec: 1, revision: 1 })
    })

    it('lists by kind and namespace', async () => {
      const store = open()
      await store.apply(
        [
          { put: object('a') },
          { put: object('b', {}, 'TrafficSplit') },
          { put: { ...object('c'), namespace: 'shop' } },
        ],
        actor,
      )
      const names = async (selector: Parameters<Store['list']>[0]) =>
        (await store.list(selector)).items.map((o) => o.name)
      expect(await names({ kind: 'VirtualService' })).toEqual(['a', 'c'])
      expect(await names({ namespace: 'shop' })).toEqual(['c'])
      expect(await names({ kind: 'TrafficSplit', namespace: 'shop' })).toEqual([])
    })

    it('keeps endpoints and remembers services that have none left', async () => {
      const store = open({ now: () => 5 })
      const first = await store.endpoints.change([endpoint('10.0.0.1'), endpoint('10.0.0.2')], [])
      expect(await store.endpoints.change([endpoint('10.0.0.1')], [endpoint('10.9.9.9')])).toBe(first)
      const second = await store.endpoints.change(
        [endpoint('10.0.0.1', { health: 'DRAINING' })],
        [endpoint('10.0.0.2')],
      )
      expect(second).not.toBe(first)
      expect(await store.endpoints.list()).toEqual([endpoint('10.0.0.1', { health: 'DRAINING' })])
      await store.endpoints.change([], [endpoint('10.0.0.1')])
      const snapshot = await store.snapshot()
      expect(snapshot.endpoints).toEqual([])
      expect(snapshot.services).toEqual([{ service: 'payments', namespace: 'default', firstSeenAt: 5 }])
    })

    it('keeps what an endpoint speaks', async () => {
      const store = open()
      const first = await store.endpoints.change([endpoint('10.0.0.1', { protocol: 'GRPC' })], [])
      expect(await store.endpoints.list()).toEqual([endpoint('10.0.0.1', { protocol: 'GRPC' })])
      expect(await store.endpoints.change([endpoint('10.0.0.1')], [])).not.toBe(first)
      expect(await store.endpoints.list()).toEqual([endpoint('10.0.0.1')])
    })

    it('watches from the beginning: everything in order, then a bookmark', async () => {
      const store = open()
      await store.apply([{ put: object('a') }], actor)
      await store.endpoints.change([endpoint('10.0.0.1')], [])
      await store.apply([{ delete: object('a') }, { put: object('b') }], actor)
      const changes = await read(store, '0')
      expect(
        changes.map((c) => [c.type, c.type === 'delete' ? c.key.name : c.type === 'put' ? c.object.name : '']),
      ).toEqual([
        ['endpoints', ''],
        ['delete', 'a'],
        ['put', 'b'],
      ])
    })

    it('lets a watcher resume inside a transaction without losing the rest of it', async () => {
      const store = open()
      await store.apply([{ put: object('a') }], actor)
      await store.apply([{ put: object('b') }, { put: object('c') }], actor)
      const [, second] = await read(store, '0', 2)
      expect(second).toMatchObject({ object: { name: 'b' } })
      expect((await read(store, second!.cursor)).map((c) => c.type === 'put' && c.object.name)).toEqual(['b', 'c'])
    })

    it('wakes a waiting watcher', async () => {
      const store = open()
      const { cursor } = await store.snapshot()
      const seen = read(store, cursor, 2)
      await store.apply([{ put: object('a') }], actor)
      await store.endpoints.change([endpoint('10.0.0.1')], [])
      expect((await seen).map((c) => c.type)).toEqual(['put', 'endpoints'])
    })

    it('wakes a watcher of another connection', async () => {
      const store = open()
      const other = open()
      const seen = read(other, '0', 1)
      await store.apply([{ put: object('a') }], actor)
      expect(await seen).toMatchObject([{ type: 'put', object: { name: 'a' } }])
    })

    it('misses nothing while two connections write', async () => {
      const [one, two, third] = [open(), open(), open()]
      const seen = read(third, '0', 120)
      for (let i = 0; i < 60; i++)
        await Promise.all([
          one.apply([{ put: object(`one-${i}`) }], actor),
          two.apply([{ put: object(`two-${i}`) }], actor),
        ])
      const names = (await seen).map((c) => (c.type === 'put' ? c.object.name : c.type))
      expect(new Set(names).size).toBe(120)
      expect((await third.snapshot()).revision).toBe(120)
    })

    it('ends a watch by its signal and by closing', async () => {
      const store = open()
      const stop = new AbortController()
      const drain = async (signal: AbortSignal) => {
        for await (const change of store.watch('0', signal)) if (change.type === 'bookmark') stop.abort()
      }
      await drain(stop.signal)
      const open2 = drain(new AbortController().signal)
      await store.close()
      await open2
    })

    it.each(['nonsense', '999', '-1', '0.5e9'])('refuses the cursor %s', async (cursor) => {
      const store = open()
      await expect(read(store, cursor)).rejects.toThrow(CursorExpired)
    })

    it('forgets old deletions and then refuses cursors from before them', async () => {
      const store = open({ remember: 10 })
      await store.apply([{ put: object('a') }], actor)
      await store.apply([{ delete: object('a') }], actor)
      for (let i = 0; i < 30; i++) await store.apply([{ put: object('b', i) }], actor)
      await expect(read(store, '1')).rejects.toThrow(CursorExpired)
      expect((await read(store, '30')).length).toBe(1)
    })

    it('uses a token once, whoever asks at the same time', async () => {
      const store = open()
      const token = {
        id: 't1',
        secretHash: 'ab',
        service: 's',
        namespace: 'n',
        serviceAccount: 'sa',
        createdAt: 1,
        expiresAt: 100,
        usedAt: null,
      }
      await store.tokens.create(token)
      await store.tokens.create({ ...token, id: 't2', secretHash: 'cd' })
      const both = await Promise.all([store.tokens.consume('ab', 50), open().tokens.consume('ab', 50)])
      expect(both).toEqual([{ ...token, usedAt: 50 }, 'used'])
      expect(await store.tokens.consume('cd', 100)).toBe('expired')
      expect(await store.tokens.consume('ef', 1)).toBe('unknown')
      expect((await store.tokens.list()).map((t) => [t.id, t.usedAt])).toEqual([
        ['t1', 50],
        ['t2', null],
      ])
    })

    it('keeps certificates and finds them by service or id', async () => {
      const store = open()
      const certificate = {
        serial: '01',
        service: 's',
        spiffeId: 'spiffe://td/a',
        certificatePem: 'PEM',
        privateKey: 'csr',
        issuedAt: 1,
        expiresAt: 2,
        requester: 'admin',
      }
      await store.certificates.record(certificate)
      await store.certificates.record({ ...certificate, serial: '02', service: 't' })
      expect(await store.certificates.list({ service: 's' })).toEqual([certificate])
      expect(await store.certificates.list({ spiffeId: 'spiffe://td/a' })).toHaveLength(2)
      await expect(store.certificates.record(certificate)).rejects.toMatchObject({ code: 'ERR_INMESH_STORE' })
    })

    it('gives the newest audit records first', async () => {
      const store = open()
      for (const verb of ['one', 'two', 'three'])
        await store.audit.append({ at: 1, actor: 'a', verb, subject: 's', detail: '', result: 'ok' })
      expect((await store.audit.list(2)).map((r) => r.verb)).toEqual(['three', 'two'])
    })

    it('is there again after closing', async () => {
      const store = open()
      await store.apply([{ put: object('a', { x: 1 }) }], actor)
      await store.endpoints.change([endpoint('10.0.0.1')], [])
      const before = await store.snapshot()
      await store.close()
      expect(await open().snapshot()).toEqual(before)
    })

    it('answers calls after closing with an error, not with a crash', async () => {
      const store = open()
      await store.close()
      await expect(store.snapshot()).rejects.toMatchObject({ code: 'ERR_INMESH_STORE' })
    })
  })
}
