import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { EndpointRecord } from '../store/store.ts'
import { Leases, type Registrant } from './leases.ts'

const options = { graceMs: 10_000, startupGraceMs: 60_000, suspectMs: 30_000 }

function endpoint(port: number, more: Partial<EndpointRecord> = {}): EndpointRecord {
  return {
    service: 'payments',
    namespace: 'default',
    address: '10.0.0.1',
    port,
    labels: { app: 'payments' },
    locality: '',
    weight: 1,
    spiffeId: 'spiffe://cluster.local/ns/default/sa/payments',
    health: 'HEALTHY',
    instanceId: `i${port}`,
    ...more,
  }
}
const registrant = (port: number): Registrant => ({ instanceId: `i${port}`, spiffeId: endpoint(port).spiffeId })
const ports = (records: readonly EndpointRecord[]) => records.map((r) => r.port)

/** One stream per port, numbered like the port. */
function registered(...all: number[]): Leases {
  const leases = new Leases(options)
  for (const port of all) leases.register(port, registrant(port), [endpoint(port)])
  return leases
}

describe('a registration', () => {
  it('is written once, and again only when something differs', () => {
    const leases = new Leases(options)
    expect(leases.register(1, registrant(1), [endpoint(1)])).toEqual({ put: [endpoint(1)], remove: [] })
    expect(leases.register(1, registrant(1), [endpoint(1)])).toEqual({ put: [], remove: [] })
    const draining = endpoint(1, { health: 'DRAINING' })
    expect(leases.register(1, registrant(1), [draining])).toEqual({ put: [draining], remove: [] })
  })

  it('replaces what the stream registered before', () => {
    const leases = new Leases(options)
    const mine = (port: number) => endpoint(port, { instanceId: 'i1' })
    leases.register(1, registrant(1), [mine(1), mine(2)])
    expect(leases.register(1, registrant(1), [mine(2), mine(3)])).toEqual({ put: [mine(3)], remove: [mine(1)] })
  })

  it('leaves at once on goodbye', () => {
    expect(registered(1, 2).register(1, registrant(1), [])).toEqual({ put: [], remove: [endpoint(1)] })
  })

  it('leaves when the grace time after a broken stream is over, not before', () => {
    const leases = registered(1, 2, 3)
    expect(leases.nextDeadline).toBe(Number.POSITIVE_INFINITY)
    leases.drop(1, 5_000)
    expect(leases.nextDeadline).toBe(15_000)
    expect(leases.sweep(14_999)).toEqual({ expired: [], held: [] })
    expect(ports(leases.sweep(15_000).expired)).toEqual([1])
    expect(leases.nextDeadline).toBe(Number.POSITIVE_INFINITY)
  })

  it('stays without a write when the workload comes back in time', () => {
    const leases = registered(1, 2, 3)
    leases.drop(1, 0)
    expect(leases.register(9, registrant(1), [endpoint(1)])).toEqual({ put: [], remove: [] })
    expect(leases.sweep(60_000).expired).toEqual([])
  })

  it('belongs to the newest stream: the end of the one before changes nothing', () => {
    const leases = registered(1, 2, 3)
    leases.register(9, registrant(1), [endpoint(1)])
    leases.drop(1, 0)
    expect(leases.nextDeadline).toBe(Number.POSITIVE_INFINITY)
  })

  it('is taken over by a process that starts anew at the same address', () => {
    const leases = registered(1, 2, 3)
    leases.drop(1, 0)
    const reborn = endpoint(1, { instanceId: 'reborn' })
    expect(leases.register(9, { ...registrant(1), instanceId: 'reborn' }, [reborn]).put).toEqual([reborn])
    expect(leases.sweep(60_000).expired).toEqual([])
  })

  it('of another identity with the same instance id is another one', () => {
    const leases = registered(1)
    const foreign = endpoint(7, {
      spiffeId: 'spiffe://cluster.local/ns/default/sa/other',
      instanceId: 'i1',
      service: 'other',
    })
    expect(leases.register(9, { instanceId: 'i1', spiffeId: foreign.spiffeId }, [foreign]).remove).toEqual([])
  })
})

describe('after a restart', () => {
  it('stored endpoints wait for their workloads', () => {
    const leases = new Leases(options)
    leases.restore([endpoint(1), endpoint(2), endpoint(3)], 0)
    expect(leases.register(1, registrant(1), [endpoint(1)])).toEqual({ put: [], remove: [] })
    leases.register(2, registrant(2), [endpoint(2)])
    expect(leases.sweep(59_999).expired).toEqual([])
    expect(ports(leases.sweep(60_000).expired)).toEqual([3])
  })
})

describe('the guard against mass expiry', () => {
  it('keeps endpoints as suspect when more than half of a service would go at once, and says so', () => {
    const leases = registered(1, 2, 3)
    for (const stream of [1, 2]) leases.drop(stream, 0)
    const { expired, held } = leases.sweep(10_000)
    expect(expired).toEqual([])
    expect(held).toEqual([{ service: 'payments', namespace: 'default', endpoints: 2, of: 3 }])
    expect(leases.count()).toEqual({ held: 1, waiting: 0, suspect: 2 })
    expect(ports(leases.sweep(40_000).expired)).toEqual([1, 2])
  })

  it('counts deadlines that are close together as one event', () => {
    const leases = registered(1, 2, 3)
    leases.drop(1, 0)
    leases.drop(2, 400)
    expect(leases.sweep(10_000).held).toHaveLength(1)
  })

  it('lets a single endpoint go, even the only one', () => {
    const leases = registered(1)
    leases.drop(1, 0)
    expect(ports(leases.sweep(10_000).expired)).toEqual([1])
  })

  it('lets half of them go', () => {
    const leases = registered(1, 2, 3, 4)
    for (const stream of [1, 2]) leases.drop(stream, 0)
    expect(ports(leases.sweep(10_000).expired)).toEqual([1, 2])
  })

  it('looks at each service by itself', () => {
    const leases = registered(1, 2, 3, 4)
    const other = endpoint(5, { service: 'other' })
    leases.register(5, { instanceId: 'i5', spiffeId: 'x' }, [other])
    for (const stream of [1, 5]) leases.drop(stream, 0)
    expect(ports(leases.sweep(10_000).expired)).toEqual([1, 5])
  })

  it('forgets the suspicion when the workload is back', () => {
    const leases = registered(1, 2)
    for (const stream of [1, 2]) leases.drop(stream, 0)
    leases.sweep(10_000)
    leases.register(8, registrant(1), [endpoint(1)])
    expect(leases.count()).toEqual({ held: 1, waiting: 0, suspect: 1 })
  })
})

describe('whatever happens', () => {
  it('what was written is what the leases hold, and nothing without a stream lives for ever', () => {
    const op = fc.record({
      op: fc.constantFrom('register', 'drop', 'goodbye', 'wait'),
      instance: fc.integer({ min: 1, max: 4 }),
      port: fc.integer({ min: 1, max: 6 }),
    })
    fc.assert(
      fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
        const leases = new Leases(options)
        const written = new Map<number, EndpointRecord>()
        const write = (put: readonly EndpointRecord[], remove: readonly EndpointRecord[]) => {
          for (const r of remove) written.delete(r.port)
          for (const r of put) written.set(r.port, r)
        }
        const streams = new Map<number, number>()
        let now = 0
        let next = 0
        for (const { op, instance, port } of ops) {
          const stream = streams.get(instance)
          if (op === 'register') {
            const id = stream ?? ++next
            streams.set(instance, id)
            const record = endpoint(port, { instanceId: `i${instance}` })
            const change = leases.register(id, registrant(instance), [record])
            write(change.put, change.remove)
          } else if (op === 'drop' && stream !== undefined) {
            leases.drop(stream, now)
            streams.delete(instance)
          } else if (op === 'goodbye' && stream !== undefined) {
            write([], leases.register(stream, registrant(instance), []).remove)
            leases.drop(stream, now)
            streams.delete(instance)
          } else {
            now += 7_000
            write([], leases.sweep(now).expired)
          }
          const { held, waiting, suspect } = leases.count()
          expect(written.size).toBe(held + waiting + suspect)
        }
        for (const stream of streams.values()) leases.drop(stream, now)
        for (let i = 1; i <= 20; i++) write([], leases.sweep(now + i * 10_000).expired)
        expect(written.size).toBe(0)
      }),
    )
  })
})
