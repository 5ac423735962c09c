import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SqliteStore } from '../store/sqlite.ts'
import { documentOf } from './document.ts'
import { applyPolicy, computeTrafficSplit } from './policy.ts'
import { validateBatch } from './validate.ts'

let store: SqliteStore
let now: number
beforeEach(() => {
  now = 1_000
  store = new SqliteStore({ path: ':memory:', now: () => now })
})
afterEach(() => store.close())

async function split(name: string, spec: Record<string, unknown>): Promise<void> {
  now += 1_000
  const value = {
    apiVersion: 'inmesh.dev/v1',
    kind: 'TrafficSplit',
    metadata: { name },
    spec: { destination_service: 'payments', ...spec },
  }
  const { objects, problems } = validateBatch([documentOf(value)], await store.snapshot())
  if (objects.length === 0) throw new Error(JSON.stringify(problems))
  await store.apply([{ put: objects[0]! }], { actor: 'test' })
}

describe('applyPolicy', () => {
  const defaults = { retry_attempts: 3, timeout_ms: 5_000, cb_threshold: 50, cb_window_sec: 30 }

  it('fills what is left out with the defaults', async () => {
    expect(await applyPolicy(store, 'payments')).toEqual({
      service_name: 'payments',
      ...defaults,
      updated_at: new Date(1_000),
    })
    const row = await applyPolicy(store, 'orders', { timeout_ms: 800, retryAttempts: 1 })
    expect(row).toMatchObject({ ...defaults, service_name: 'orders', timeout_ms: 800, retry_attempts: 1 })
  })

  it('upserts: the second call replaces the first, with the defaults and not with what was there', async () => {
    await applyPolicy(store, 'payments', { timeout_ms: 1, cb_recovery_sec: 3 })
    now = 9_000
    expect(await applyPolicy(store, 'payments', { cb_threshold: 20 })).toMatchObject({
      ...defaults,
      cb_threshold: 20,
      updated_at: new Date(9_000),
    })
    const { items } = await store.list({ kind: 'ServicePolicy' })
    expect(items.map((o) => o.spec)).toEqual([
      { service: 'payments', retryAttempts: 3, timeoutMs: 5_000, cbThreshold: 20, cbWindowSec: 30, cbRecoverySec: 5 },
    ])
  })

  it('replaces a policy of the service that was applied under another name', async () => {
    const value = {
      apiVersion: 'inmesh.dev/v1',
      kind: 'ServicePolicy',
      metadata: { name: 'mine' },
      spec: { service: 'payments' },
    }
    const { objects } = validateBatch([documentOf(value)], await store.snapshot())
    await store.apply([{ put: objects[0]! }], { actor: 'test' })
    await applyPolicy(store, 'payments', { timeout_ms: 7 })
    const { items } = await store.list({ kind: 'ServicePolicy' })
    expect(items).toMatchObject([{ name: 'mine', spec: { timeoutMs: 7 } }])
  })

  it.each([
    [{ retry_attempts: -1 }, /retryAttempts: must be at least 0/],
    [{ cb_threshold: 150 }, /cbThreshold: must be at most 100/],
    [{ timeout_ms: 'soon' as unknown as number }, /timeoutMs: must be a number, not "soon"/],
    [{ timeuot_ms: 5 } as object, /timeuot_ms: unknown field \(did you mean "timeoutMs"\?\)/],
  ])('refuses %o', async (policy, message) => {
    await expect(applyPolicy(store, 'payments', policy)).rejects.toThrow(message)
    expect((await store.snapshot()).revision).toBe(0)
  })

  it('tells watchers', async () => {
    const stop = new AbortController()
    const watching = (async () => {
      for await (const change of store.watch('0', stop.signal)) if (change.type === 'put') return change.object.name
      return undefined
    })()
    await applyPolicy(store, 'payments')
    expect(await watching).toBe('payments')
    stop.abort()
  })
})

describe('computeTrafficSplit', () => {
  const draw = (value: number) => ({ random: () => value })

  it('no split: v1', async () => {
    expect(await computeTrafficSplit(store, 'payments', {})).toBe('v1')
    await split('a', { v2_weight: 100, v1_weight: 0 })
    expect(await computeTrafficSplit(store, 'orders', {})).toBe('v1')
    expect(await computeTrafficSplit(store, 'payments', {})).toBe('v2')
  })

  it('weights decide by a draw', async () => {
    await split('a', { v1_weight: 95, v2_weight: 5 })
    expect(await computeTrafficSplit(store, 'payments', {}, draw(0))).toBe('v2')
    expect(await computeTrafficSplit(store, 'payments', {}, draw(0.0499))).toBe('v2')
    expect(await computeTrafficSplit(store, 'payments', {}, draw(0.0501))).toBe('v1')
    let v2 = 0
    for (let i = 0; i < 2_000; i++)
      if ((await computeTrafficSplit(store, 'payments', {}, draw((i * 0.618034) % 1))) === 'v2') v2++
    expect(Math.abs(v2 - 100)).toBeLessThan(5)
  })

  it('both weights 0: v1', async () => {
    await split('a', { v1_weight: 0, v2_weight: 0 })
    expect(await computeTrafficSplit(store, 'payments', {}, draw(0))).toBe('v1')
  })

  it.each([
    [{ 'X-Canary': 'true' }, 'v2'],
    [new Headers({ 'x-canary': 'true' }), 'v2'],
    [new Map([['X-CANARY', 'true']]), 'v2'],
    [{ 'x-canary': ['false', 'true'] }, 'v2'],
    [{ 'x-beta': '1' }, 'v2'],
    [{ 'x-canary': 'TRUE' }, 'v1'],
    [{ 'x-canary': undefined }, 'v1'],
    [{ other: 'true' }, 'v1'],
  ])('a listed header decides whatever the weights: %o', async (headers, version) => {
    await split('a', { v1_weight: 100, v2_weight: 0, header_match: { 'X-Canary': 'true', 'x-beta': '1' } })
    expect(await computeTrafficSplit(store, 'payments', headers)).toBe(version)
  })

  it('the newest split of the destination counts', async () => {
    await split('old', { v1_weight: 0, v2_weight: 1 })
    await split('new', { v1_weight: 1, v2_weight: 0 })
    expect(await computeTrafficSplit(store, 'payments', {})).toBe('v1')
    await split('old', { v1_weight: 0, v2_weight: 2 })
    expect(await computeTrafficSplit(store, 'payments', {})).toBe('v2')
  })

  it('knows a service by each of its names', async () => {
    await split('a', { destination_service: 'payments.default.svc.cluster.local', v1_weight: 0, v2_weight: 1 })
    expect(await computeTrafficSplit(store, 'Payments', {})).toBe('v2')
    expect(await computeTrafficSplit(store, 'payments', {}, { namespace: 'shop' })).toBe('v1')
  })

  it('for a caller that is named its own split counts before newer ones for all', async () => {
    await split('mine', { source_service: 'frontend', v1_weight: 0, v2_weight: 1 })
    await split('all', { v1_weight: 1, v2_weight: 0 })
    const from = (sourceService: string) => computeTrafficSplit(store, 'payments', {}, { sourceService })
    expect(await from('Frontend')).toBe('v2')
    expect(await from('other')).toBe('v1')
    await split('theirs', { source_service: 'other', v1_weight: 0, v2_weight: 1 })
    expect(await from('third')).toBe('v1')
  })
})
