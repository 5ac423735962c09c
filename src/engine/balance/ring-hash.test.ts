import { describe, expect, it } from 'vitest'
import { Hash64 } from '../../match/hash64.ts'
import { xxHash64 } from '../../match/xxhash64.ts'
import type { LbSpec } from '../../model/cluster.ts'
import type { Attempt } from '../attempt.ts'
import { HostRuntime } from '../host.ts'
import { Dice } from '../testing/dice.ts'
import { endpoint } from '../testing/specs.ts'
import { type Balancer, createBalancer } from './balancer.ts'
import { RingHash } from './ring-hash.ts'
import { sortHashes } from './sort-hashes.ts'

type RingSpec = Extract<LbSpec, { policy: 'RING_HASH' }>

const { random } = new Dice(3, 3)
const load = { active: 0 }
const ringSpec: RingSpec = {
  policy: 'RING_HASH',
  minimumRingSize: 1_024,
  maximumRingSize: 8_388_608,
  hashFunction: 'XX_HASH',
  balanceFactorPercent: 0,
  useHostname: false,
}
const maglevSpec: LbSpec = { policy: 'MAGLEV', tableSize: 65_537, balanceFactorPercent: 0, useHostname: false }

function hostsAt(...ports: number[]): HostRuntime[] {
  return ports.map((port) => new HostRuntime(endpoint(0, { address: '127.0.0.1', port })))
}

function given<T extends Balancer>(balancer: T, hosts: readonly HostRuntime[]): T {
  balancer.update(
    hosts,
    hosts.map((h) => h.spec.weight),
    0,
  )
  return balancer
}

function hash(value: bigint): Hash64 {
  return new Hash64(Number(value >> 32n), Number(value & 0xffffffffn))
}

function keys(count: number): Hash64[] {
  return Array.from({ length: count }, (_, i) => xxHash64(`user-${i}`, new Hash64()))
}

/** Attempts that went to these hosts, the latest first. */
function triesAt(...hosts: HostRuntime[]): Attempt {
  return hosts.reduceRight<unknown>((previous, host) => ({ host, previous }), null) as Attempt
}

describe('ring hash', () => {
  // Positions of two entries for each of six hosts, as Envoy computes them.
  const positions: readonly (readonly [number, bigint])[] = [
    [94, 833437586790550860n],
    [92, 928266305478181108n],
    [90, 1033482794131418490n],
    [95, 3551244743356806947n],
    [93, 3851675632748031481n],
    [91, 5583722120771150861n],
    [91, 6311230543546372928n],
    [93, 7700377290971790572n],
    [95, 13144177310400110813n],
    [92, 13444792449719432967n],
    [94, 15516499411664133160n],
    [90, 16117243373044804889n],
  ]

  it('is the ring that Envoy builds', () => {
    const hosts = hostsAt(90, 91, 92, 93, 94, 95)
    const ring = given(new RingHash({ ...ringSpec, minimumRingSize: 12 }, { random, load }), hosts)
    expect(ring.size).toBe(12)
    for (const [i, [port, position]] of positions.entries()) {
      expect(ring.pick(hash(position)).spec.port).toBe(port)
      expect(ring.pick(hash(position + 1n)).spec.port).toBe(positions[(i + 1) % 12]![0])
    }
    expect(ring.pick(hash(0n)).spec.port).toBe(94)
    expect(ring.pick(hash(18446744073709551615n)).spec.port).toBe(94)
  })

  it.each([
    { weights: [1], min: 3, max: 1_000, size: 3 },
    { weights: [1, 1, 1], min: 10, max: 1_000, size: 12 },
    { weights: [1, 2], min: 3, max: 1_000, size: 3 },
    { weights: [1, 2], min: 1_024, max: 1_000, size: 1_000 },
    { weights: [1, 99], min: 1, max: 8_388_608, size: 100 },
  ])('has room for $weights: $size entries', ({ weights, min, max, size }) => {
    const hosts = weights.map((weight, i) => new HostRuntime(endpoint(i, { weight })))
    const ring = new RingHash({ ...ringSpec, minimumRingSize: min, maximumRingSize: max }, { random, load })
    expect(given(ring, hosts).size).toBe(size)
  })

  it('goes on round the ring when a host was tried', () => {
    const hosts = hostsAt(90, 91, 92, 93, 94, 95)
    const ring = given(new RingHash({ ...ringSpec, minimumRingSize: 12 }, { random, load }), hosts)
    const [, , , , at94] = hosts
    expect(ring.untried(hash(5n), triesAt(at94!))!.spec.port).toBe(92)
    expect(ring.untried(hash(5n), triesAt(hosts[2]!, at94!))!.spec.port).toBe(90)
    expect(ring.untried(hash(5n), triesAt(...hosts))).toBe(null)
  })

  it('hashes names where it is told to, and IPv6 addresses in brackets', () => {
    const named = new HostRuntime(endpoint(1, { hostname: 'a.example' }))
    const one = given(new RingHash({ ...ringSpec, minimumRingSize: 1, useHostname: true }, { random, load }), [
      named,
      new HostRuntime(endpoint(2, { hostname: 'b.example' })),
    ])
    expect(one.pick(xxHash64('a.example_0', new Hash64()))).toBe(named)
    const six = new HostRuntime(endpoint(1, { address: 'fd00::1', port: 443 }))
    const two = given(new RingHash({ ...ringSpec, minimumRingSize: 1 }, { random, load }), [
      six,
      new HostRuntime(endpoint(2)),
    ])
    expect(two.pick(xxHash64('[fd00::1]:443_0', new Hash64()))).toBe(six)
  })

  it('sorts by both halves, as unsigned numbers', () => {
    const hi = Uint32Array.of(0xffffffff, 1, 0x80000000, 1, 0, 0xffffffff)
    const lo = Uint32Array.of(5, 9, 0, 2, 0xffffffff, 4)
    expect([...sortHashes(hi, lo)]).toEqual([4, 3, 1, 2, 5, 0])
  })
})

describe.each([ringSpec, maglevSpec])('consistent hashing by $policy', (spec) => {
  const hosts = hostsAt(80, 81, 82, 83, 84)

  it('keeps a key at its host, wherever it is asked', () => {
    const one = given(createBalancer(spec, { random, load }), hosts)
    const other = given(createBalancer(spec, { random: new Dice(9, 9).random, load }), hosts)
    for (const key of keys(200)) expect(other.pick(key, 0)).toBe(one.pick(key, 5))
  })

  it('moves few keys when a host leaves, and all of its own', () => {
    const before = given(createBalancer(spec, { random, load }), hosts)
    const after = given(createBalancer(spec, { random, load }), hosts.slice(1))
    let moved = 0
    for (const key of keys(2_000)) {
      const old = before.pick(key, 0)
      const now = after.pick(key, 0)
      if (old !== hosts[0] && now !== old) moved++
    }
    // The others stand more often on the smaller ring: some move, far from the 80 % of a modulo.
    expect(moved).toBeLessThan(250)
  })

  it('spreads keys by weight', () => {
    const heavy = [3, 1, 1].map((weight, i) => new HostRuntime(endpoint(i, { weight })))
    const balancer = given(createBalancer(spec, { random, load }), heavy)
    const share = keys(10_000).filter((key) => balancer.pick(key, 0) === heavy[0]).length / 10_000
    expect(Math.abs(share - 0.6)).toBeLessThan(0.06)
  })

  it('finds each host once for tries after each other', () => {
    const balancer = given(createBalancer(spec, { random, load }), hosts)
    for (const key of keys(20)) {
      const seen = [balancer.pick(key, 0)]
      for (let i = 1; i < hosts.length; i++) seen.unshift(balancer.untried!(key, triesAt(...seen))!)
      expect(new Set(seen).size).toBe(hosts.length)
      expect(balancer.untried!(key, triesAt(...seen))).toBe(null)
    }
  })
})

describe('maglev', () => {
  it('does not depend on the order of hosts', () => {
    const hosts = hostsAt(90, 91, 92, 93)
    const one = given(createBalancer(maglevSpec, { random, load }), hosts)
    const other = given(createBalancer(maglevSpec, { random, load }), [...hosts].reverse())
    for (const key of keys(500)) expect(other.pick(key, 0)).toBe(one.pick(key, 0))
  })
})

describe.each([
  { ...ringSpec, balanceFactorPercent: 125 },
  { ...maglevSpec, balanceFactorPercent: 125 },
])('bounded load on $policy', (spec) => {
  it('lets no host have more than the factor of its share, while a hot key stays with few hosts', () => {
    const hosts = hostsAt(80, 81, 82, 83, 84)
    const busy = { active: 0 }
    const balancer = given(createBalancer(spec, { random, load: busy }), hosts)
    const [hot] = keys(1)
    for (let i = 0; i < 100; i++) {
      balancer.pick(hot!, 0).active++
      busy.active++
    }
    // Envoy: a host is full when it has more than its slots.
    for (const host of hosts) expect(host.active).toBeLessThanOrEqual(Math.ceil((101 * 1.25) / 5) + 1)
    expect(hosts.filter((h) => h.active > 0).length).toBeLessThanOrEqual(5)
  })

  it('leaves calls at their host while it has room', () => {
    const hosts = hostsAt(80, 81, 82, 83, 84)
    const plain = given(createBalancer({ ...spec, balanceFactorPercent: 0 } as LbSpec, { random, load }), hosts)
    const bounded = given(createBalancer(spec as LbSpec, { random, load: { active: 0 } }), hosts)
    for (const key of keys(100)) expect(bounded.pick(key, 0)).toBe(plain.pick(key, 0))
  })
})
