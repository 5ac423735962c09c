import { afterEach, describe, expect, it } from 'vitest'
import { systemClock } from '../src/model/clock.ts'
import { silentLogger } from '../src/model/logger.ts'
import { Revisions, type RevisionsOptions } from './revisions.ts'
import { SqliteStore } from './store/sqlite.ts'
import type { StoreOp } from './store/store.ts'
import type { Translation } from './translate/types.ts'

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

const settings = {
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  domain: 'cluster.local',
  outboundTrafficPolicy: 'ALLOW_ANY',
} as const

function put(name: string, value = 1): StoreOp {
  const base = { apiVersion: 'inmesh.dev/v1', kind: 'ServicePolicy', namespace: 'default', labels: {}, annotations: {} }
  return { put: { ...base, name, spec: { service: name, retryAttempts: value } } }
}

async function start(options: Partial<RevisionsOptions> = {}) {
  const store = new SqliteStore({ path: ':memory:' })
  cleanups.push(() => store.close())
  const published: { revision: number; names: string[] }[] = []
  let names: string[] = []
  const revisions = new Revisions({
    ...{ store, settings, clock: systemClock, logger: silentLogger, quietMs: 5, maxMs: 50 },
    trustBundles: () => new Map(),
    translate: (mesh): Translation => {
      names = mesh.objects.map((o) => o.name)
      if (names.includes('poison')) throw new Error('poison cannot be translated')
      return { revision: mesh.revision, resolve: () => undefined, references: () => [] }
    },
    publish: async ({ revision }) => {
      published.push({ revision, names })
    },
    ...options,
  })
  cleanups.push(() => revisions.close())
  await revisions.start()
  return { store, revisions, published }
}

describe('revisions', () => {
  it('start with what is stored and follow what is written', async () => {
    const { store, published } = await start()
    expect(published).toEqual([{ revision: 0, names: [] }])
    await store.apply([put('a')], { actor: 'test' })
    await expect.poll(() => published.at(-1)).toEqual({ revision: 1, names: ['a'] })
  })

  it('are made once for a burst', async () => {
    const { store, published } = await start({ quietMs: 30, maxMs: 5_000 })
    for (let i = 0; i < 100; i++) await store.apply([put(`p${i}`)], { actor: 'test' })
    await expect.poll(() => published.at(-1)?.revision).toBe(100)
    expect(published.length).toBeLessThan(10)
  })

  it('do not wait for the end of a burst when something is urgent', async () => {
    const { store, revisions, published } = await start({ quietMs: 60_000, maxMs: 60_000 })
    await store.apply([put('a')], { actor: 'test' })
    revisions.hurry()
    await expect.poll(() => published.at(-1)?.revision).toBe(1)
  })

  it('that cannot be translated leave the last good one in force, and say why', async () => {
    const { store, revisions, published } = await start()
    await store.apply([put('a')], { actor: 'test' })
    await expect.poll(() => revisions.status.revision).toBe(1)
    await store.apply([put('poison')], { actor: 'test' })
    await expect
      .poll(() => revisions.status)
      .toEqual({ revision: 1, error: expect.stringMatching(/revision 2.*poison/) })
    await store.apply([{ delete: { kind: 'ServicePolicy', namespace: 'default', name: 'poison' } }], { actor: 'test' })
    await expect.poll(() => revisions.status).toEqual({ revision: 3, error: '' })
    expect(published.map((p) => p.names)).not.toContainEqual(expect.arrayContaining(['poison']))
  })

  it('go on when a push fails', async () => {
    let calls = 0
    const { store, revisions } = await start({
      publish: async () => {
        if (++calls === 2) throw new Error('socket')
      },
    })
    await store.apply([put('a')], { actor: 'test' })
    await expect.poll(() => calls).toBe(2)
    await store.apply([put('b')], { actor: 'test' })
    await expect.poll(() => revisions.status.revision).toBe(2)
    expect(calls).toBe(3)
  })

  it('are waited for by those who want to be found', async () => {
    const { store, revisions } = await start()
    await store.apply([put('a')], { actor: 'test' })
    await revisions.served(1, 10_000)
    expect(revisions.status.revision).toBe(1)
    // What never comes does not hold up its writer.
    await revisions.served(99, 10)
  })
})
