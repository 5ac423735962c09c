import fc from 'fast-check'
import { beforeEach, describe, expect, it } from 'vitest'
import { clusterSpec, endpoint, listenerSpec, routeSpec, snapshotOf } from '../engine/testing/specs.ts'
import type { ClusterSpec } from '../model/cluster.ts'
import type { Snapshot } from '../model/snapshot.ts'
import { DnsClusters } from './dns-clusters.ts'
import { type LookupResult, NameState } from './name-state.ts'

const addresses = (...list: string[]): LookupResult => ({ kind: 'addresses', addresses: list })

describe('a name', () => {
  it('keeps its last addresses while nobody can be asked, for however long', () => {
    const state = new NameState(5_000)
    state.take(addresses('10.0.0.2', '10.0.0.1', '10.0.0.2'), 0)
    expect(state.addresses).toEqual(['10.0.0.1', '10.0.0.2'])
    for (let now = 0; now < 600_000; now += 5_000) state.take({ kind: 'failed' }, now)
    expect(state.addresses).toEqual(['10.0.0.1', '10.0.0.2'])
    expect(state.resolvedAt).toBe(0)
  })

  it('has none only after three answers that say so, over a minute', () => {
    const state = new NameState(5_000)
    state.take(addresses('10.0.0.1'), 0)
    for (const now of [1_000, 2_000, 30_000, 60_999]) {
      state.take({ kind: 'none' }, now)
      expect(state.addresses).toEqual(['10.0.0.1'])
    }
    state.take({ kind: 'none' }, 61_000)
    expect(state.addresses).toEqual([])
  })

  it('is asked for again sooner while it fails, never later than its refresh rate', () => {
    const state = new NameState(5_000)
    const waits = Array.from({ length: 6 }, () => state.take({ kind: 'failed' }, 0))
    expect(waits).toEqual([1_000, 2_000, 4_000, 5_000, 5_000, 5_000])
    expect(state.take(addresses('a'), 0)).toBe(5_000)
    expect(state.take({ kind: 'none' }, 0)).toBe(1_000)
  })

  it('never loses addresses to anything but three empty answers in a row', () => {
    const result = fc.oneof(
      fc.constant<LookupResult>({ kind: 'failed' }),
      fc.constant<LookupResult>({ kind: 'none' }),
      fc.constant(addresses('10.0.0.1')),
    )
    fc.assert(
      fc.property(fc.array(fc.tuple(result, fc.nat(40_000)), { maxLength: 30 }), (steps) => {
        const state = new NameState(5_000)
        let now = 0
        let empty = 0
        let since = 0
        let known = false
        for (const [step, wait] of steps) {
          now += wait
          if (step.kind === 'addresses') {
            known = true
            empty = 0
          } else if (step.kind === 'none' && empty++ === 0) since = now
          state.take(step, now)
          if (known && !(empty >= 3 && now - since >= 60_000) && state.addresses?.length === 0)
            expect(empty).toBeGreaterThan(2)
        }
      }),
    )
  })
})

class Bench {
  readonly asked: string[] = []
  readonly answers: ((result: LookupResult) => void)[] = []
  readonly timers: { ms: number; then: () => void; off: boolean }[] = []
  readonly published: Snapshot[] = []
  readonly dns = new DnsClusters({
    clock: { now: () => 0 },
    lookup: (name, family) => {
      this.asked.push(`${name}/${family}`)
      return new Promise((resolve) => this.answers.push(resolve))
    },
    schedule: (ms, then) => {
      const timer = { ms, then, off: false }
      this.timers.push(timer)
      return () => {
        timer.off = true
      }
    },
    publish: (snapshot) => this.published.push(snapshot),
  })
  get last(): Snapshot {
    return this.published.at(-1)!
  }
  async answer(result: LookupResult): Promise<void> {
    this.answers.shift()!(result)
    await Promise.resolve()
  }
  async again(result: LookupResult): Promise<void> {
    this.timers.shift()!.then()
    await this.answer(result)
  }
  endpoints(name: string): string[] {
    return this.last.clusters.get(name)!.endpoints.map((e) => `${e.address}:${e.port} ${e.hostname}`)
  }
}

const named = (name: string, kind: 'strict-dns' | 'logical-dns', ...names: string[]): ClusterSpec =>
  clusterSpec(name, {
    kind,
    endpoints: [],
    dns: { refreshMs: 5_000, family: 'any', names: names.map((address, i) => endpoint(i, { address, port: 443 })) },
  })
const world = (...clusters: ClusterSpec[]) =>
  snapshotOf(
    clusters.map((c) => listenerSpec(`to-${c.name}`, [routeSpec(c.name)])),
    clusters,
  )

describe('clusters of names', () => {
  let bench: Bench
  beforeEach(() => {
    bench = new Bench()
  })

  it('get an endpoint for each address, and new ones when the answer changes', async () => {
    bench.dns.update(world(named('a', 'strict-dns', 'api.example')))
    expect(bench.asked).toEqual(['api.example/any'])
    await bench.answer(addresses('10.0.0.2', '10.0.0.1'))
    expect(bench.endpoints('a')).toEqual(['10.0.0.1:443 api.example', '10.0.0.2:443 api.example'])
    const before = bench.last
    await bench.again(addresses('10.0.0.1', '10.0.0.2'))
    expect(bench.last).toBe(before)
    await bench.again(addresses('10.0.0.3'))
    expect(bench.endpoints('a')).toEqual(['10.0.0.3:443 api.example'])
    expect(bench.last.listeners).toBe(before.listeners)
  })

  it('hold back only the listeners that need them, and those only until the first answer', async () => {
    const plain = clusterSpec('plain')
    bench.dns.update(world(plain, named('a', 'strict-dns', 'api.example')))
    expect([...bench.last.listeners.keys()]).toEqual(['to-plain'])
    await bench.answer({ kind: 'failed' })
    expect([...bench.last.listeners.keys()]).toEqual(['to-plain', 'to-a'])
    expect(bench.endpoints('a')).toEqual([])
  })

  it('leave the version before in place while new names are looked up', async () => {
    const first = world(named('a', 'strict-dns', 'api.example'))
    bench.dns.update(first)
    await bench.answer(addresses('10.0.0.1'))
    const next = named('b', 'strict-dns', 'other.example')
    const moved = { ...listenerSpec('to-a', [routeSpec('b')]) }
    bench.dns.update(snapshotOf([moved], [next]))
    expect(bench.last.listeners.get('to-a')).toBe(first.listeners.get('to-a'))
    expect(bench.endpoints('a')).toEqual(['10.0.0.1:443 api.example'])
    await bench.answer(addresses('10.0.0.9'))
    expect(bench.last.listeners.get('to-a')).toBe(moved)
    expect([...bench.last.clusters.keys()]).toEqual(['b'])
  })

  it('are asked about no longer than they are there', async () => {
    bench.dns.update(world(named('a', 'strict-dns', 'api.example')))
    await bench.answer(addresses('10.0.0.1'))
    bench.dns.update(world())
    expect(bench.timers[0]!.off).toBe(true)
    bench.dns.update(world(named('a', 'strict-dns', 'late.example')))
    bench.dns.close()
    await bench.answer(addresses('10.0.0.1'))
    expect(bench.last.clusters.size).toBe(0)
  })

  it('that are logical are one endpoint with its name, which nobody looks up here', () => {
    bench.dns.update(world(named('a', 'logical-dns', 'api.example')))
    expect(bench.asked).toEqual([])
    expect(bench.endpoints('a')).toEqual(['api.example:443 api.example'])
  })
})
