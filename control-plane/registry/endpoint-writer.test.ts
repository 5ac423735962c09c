import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../src/model/logger.ts'
import type { EndpointRecord, Store } from '../store/store.ts'
import { EndpointWriter } from './endpoint-writer.ts'

function endpoint(port: number, health: EndpointRecord['health'] = 'HEALTHY'): EndpointRecord {
  const who = { service: 's', namespace: 'n', spiffeId: 'spiffe://d/ns/n/sa/s', instanceId: 'i' }
  return { ...who, address: '10.0.0.1', port, labels: {}, locality: '', weight: 1, health }
}

/** A store whose writes wait until the test lets them go, and may fail. */
function scripted() {
  const batches: { put: number[]; remove: number[] }[] = []
  const open: { go: () => void; fail: () => void }[] = []
  const endpoints: Store['endpoints'] = {
    change: (put, remove) =>
      new Promise((resolve, reject) => {
        batches.push({ put: put.map((r) => r.port), remove: remove.map((r) => r.port) })
        const cursor = String(batches.length)
        open.push({ go: () => resolve(cursor), fail: () => reject(new Error('disk full')) })
      }),
    list: async () => [],
  }
  return { store: { endpoints }, batches, open }
}

describe('endpoint writes', () => {
  it('are put together while one is under way', async () => {
    const { store, batches, open } = scripted()
    const writer = new EndpointWriter(store, silentLogger, () => undefined)
    const first = writer.write({ put: [endpoint(1)], remove: [] })
    const later = [2, 3, 4].map((port) => writer.write({ put: [endpoint(port)], remove: [] }))
    open[0]!.go()
    expect(await first).toBe('1')
    await expect.poll(() => open.length).toBe(2)
    open[1]!.go()
    await expect
      .poll(() => {
        for (const { go } of open) go()
        return batches.length
      })
      .toBeGreaterThanOrEqual(2)
    for (const { go } of open) go()
    await Promise.race(later)
    expect(batches[1]).toEqual({ put: [2, 3, 4], remove: [] })
  })

  it('are tried again when they fail, and what came meanwhile wins', async () => {
    const { store, batches, open } = scripted()
    const writer = new EndpointWriter(store, silentLogger, () => undefined)
    const first = writer.write({ put: [endpoint(1), endpoint(2)], remove: [] })
    void writer.write({ put: [], remove: [endpoint(1)] })
    open[0]!.fail()
    await expect.poll(() => open.length, { timeout: 5_000 }).toBe(2)
    open[1]!.go()
    await first
    expect(batches[1]).toEqual({ put: [2], remove: [1] })
  })

  it('are urgent when an endpoint leaves or stops taking calls', async () => {
    const { store, open } = scripted()
    let urgent = 0
    const writer = new EndpointWriter(store, silentLogger, () => urgent++)
    const write = async (...change: Parameters<typeof writer.write>) => {
      const done = writer.write(...change)
      open.at(-1)!.go()
      await done
      return urgent
    }
    expect(await write({ put: [endpoint(1)], remove: [] })).toBe(0)
    expect(await write({ put: [endpoint(1, 'DRAINING')], remove: [] })).toBe(1)
    expect(await write({ put: [], remove: [endpoint(1)] })).toBe(2)
  })
})
