import { describe, expect, it } from 'vitest'
import type { LbSpec } from '../../model/cluster.ts'
import type { HostRuntime } from '../host.ts'
import { Kind } from '../outcome.ts'
import { EventHeap } from '../testing/event-heap.ts'
import { Lab } from '../testing/lab.ts'
import { clusterSpec, endpoints, routeSpec } from '../testing/specs.ts'

interface Peer {
  /** ms */
  readonly latency: number
  readonly status?: number
}

/** Calls at a steady rate against peers of different speed; every answer takes what its peer takes. */
function play(lb: LbSpec, peers: readonly Peer[], calls: number, everyMs: number) {
  const lab = Lab.of({ lb, endpoints: endpoints(peers.length) })
  const heap = new EventHeap()
  const took: number[] = []
  const picks = new Map<HostRuntime, number>()
  const start = lab.time
  for (let i = 0; i < calls; i++)
    heap.push(start + i * everyMs, () => {
      const { latest } = lab.call()
      const begun = lab.time
      picks.set(latest.host, (picks.get(latest.host) ?? 0) + 1)
      const { latency, status = 200 } = peers[lab.cluster.hosts.indexOf(latest.host)]!
      heap.push(lab.time + latency, () => {
        latest.answer(status)
        took.push(lab.time - begun)
      })
    })
  while (heap.nextAt !== Number.POSITIVE_INFINITY) {
    lab.time = heap.nextAt
    heap.pop()()
  }
  took.sort((a, b) => a - b)
  const share = (index: number) => (picks.get(lab.cluster.hosts[index]!) ?? 0) / calls
  return { p99: took[Math.floor(took.length * 0.99)]!, share }
}

const ewma: LbSpec = { policy: 'PEAK_EWMA', decayMs: 10_000 }
const least: LbSpec = { policy: 'LEAST_REQUEST', choiceCount: 2 }

describe('with one slow host (20x)', () => {
  const peers = [{ latency: 200 }, ...Array.from({ length: 9 }, () => ({ latency: 10 }))]

  it.each([ewma, least])('$policy has a p99 at least three times better than round robin', (lb) => {
    const slow = play({ policy: 'ROUND_ROBIN' }, peers, 20_000, 0.25)
    const good = play(lb, peers, 20_000, 0.25)
    expect(slow.p99).toBe(200)
    expect(good.p99 * 3).toBeLessThanOrEqual(slow.p99)
  })

  it('peak EWMA gives it next to nothing', () => {
    expect(play(ewma, peers.slice(0, 3), 5_000, 2).share(0)).toBeLessThan(0.12)
  })
})

describe('a host that fails fast', () => {
  it.each([500, 503, 429])('attracts nothing with %i under peak EWMA', (status) => {
    const peers = [{ latency: 1, status }, { latency: 20 }, { latency: 20 }]
    expect(play(ewma, peers, 5_000, 5).share(0)).toBeLessThan(0.05)
  })

  it('attracts nothing by refusing connections, also under least request', () => {
    const lab = Lab.of({ lb: least, endpoints: endpoints(3) })
    const [refuses, ...others] = lab.cluster.hosts
    let refused = 0
    for (let i = 0; i < 1_000; i++) {
      const { latest } = lab.call()
      if (latest.host === refuses) {
        refused++
        latest.end(Kind.ConnectFailure, null)
      } else latest.answer(200)
      lab.advance(10)
    }
    // After 1, 2, 4 and 8 s; then every 10 s.
    expect(refused).toBeGreaterThan(0)
    expect(refused).toBeLessThanOrEqual(5)
    expect(others.every((h) => h.active === 0)).toBe(true)
  })

  it('is forgiven with the first connection', () => {
    const lab = Lab.of({ endpoints: endpoints(1) })
    const [host] = lab.cluster.hosts
    for (let i = 0; i < 3; i++) lab.call().latest.end(Kind.ConnectFailure, null)
    expect(host!.backedOffUntil - lab.time).toBe(4_000)
    lab.answers(1, 200)
    lab.call().latest.end(Kind.ConnectFailure, null)
    expect(host!.backedOffUntil - lab.time).toBe(1_000)
  })
})

describe('slow start', () => {
  const slowStart = { windowMs: 10_000, aggression: 1, minWeightPercent: 10 }
  const policies: readonly LbSpec[] = [
    { policy: 'ROUND_ROBIN', slowStart },
    { policy: 'LEAST_REQUEST', choiceCount: 2, slowStart },
  ]

  function shareOfNew(lab: Lab): number {
    const fresh = lab.cluster.hosts[3]!
    let n = 0
    for (let i = 0; i < 4_000; i++) {
      const { latest } = lab.call()
      if (latest.host === fresh) n++
      latest.answer(200)
    }
    return n / 4_000
  }

  it.each(policies)('lets the share of a new host grow over the window: $policy', (lb) => {
    const lab = Lab.of({ lb, endpoints: endpoints(3) })
    lab.advance(20_000)
    lab.apply([clusterSpec('c', { lb, endpoints: endpoints(4) })], [routeSpec('c')])
    expect(shareOfNew(lab)).toBeCloseTo(0.1 / 3.1, 1.5)
    lab.advance(5_000)
    expect(shareOfNew(lab)).toBeCloseTo(0.5 / 3.5, 1.5)
    lab.advance(6_000)
    expect(shareOfNew(lab)).toBeCloseTo(0.25, 1.5)
  })

  it('rises faster with more aggression', () => {
    const lb: LbSpec = { policy: 'ROUND_ROBIN', slowStart: { ...slowStart, aggression: 2 } }
    const lab = Lab.of({ lb, endpoints: endpoints(3) })
    lab.advance(20_000)
    lab.apply([clusterSpec('c', { lb, endpoints: endpoints(4) })], [routeSpec('c')])
    lab.advance(2_500)
    expect(shareOfNew(lab)).toBeCloseTo(0.5 / 3.5, 1.5)
  })
})

describe('round robin', () => {
  it('begins at a random host', () => {
    const firsts = new Set<string>()
    for (let i = 0; i < 50; i++) {
      const lab = new Lab()
      for (let n = 0; n < i; n++) lab.random.u32()
      lab.apply([clusterSpec('c', { endpoints: endpoints(5) })], [routeSpec('c')])
      firsts.add(lab.call().latest.host.address)
    }
    expect(firsts.size).toBe(5)
  })
})
