/**
 * What size costs: `node bench/scale.ts [--gate]`. Whole calls over a transport that answers at once, 10,000 endpoints against
 * 10 for each balancing policy. Rounds interleaved; ratios of the same round. (What many routes cost is in `npm run bench`.)
 * With --gate it exits with 1 when a ratio is over its limit.
 */
import { parseArgs } from 'node:util'
import { Attempt } from '../src/engine/attempt.ts'
import { Call } from '../src/engine/call.ts'
import { Engine } from '../src/engine/engine.ts'
import type { Exchange } from '../src/engine/exchange.ts'
import { Kind } from '../src/engine/outcome.ts'
import { systemRandom } from '../src/engine/random.ts'
import { systemClock } from '../src/model/clock.ts'
import { type ClusterSpec, clusterDefaults, type EndpointSpec, type LbSpec } from '../src/model/cluster.ts'
import { type HashSpec, type RouteSpec, routeDefaults } from '../src/model/route.ts'
import { emptySnapshot, type ListenerSpec } from '../src/model/snapshot.ts'
import { spread } from './statistics.ts'

const { values: args } = parseArgs({ options: { gate: { type: 'boolean' } } })

const ROUNDS = 15
const CALLS = 20_000
const limit = 1.2
const unlimited = Number.POSITIVE_INFINITY

class NullAttempt extends Attempt {
  override start(): void {
    this.sent()
    if (this.head(200, -1)) this.end(Kind.Response, null)
  }
  override abort(): void {}
}

function exchangeFor(authority: string, user: string): Exchange {
  return {
    method: 'GET',
    authority,
    path: '/items/42?x=1',
    idempotent: true,
    replayable: true,
    callerDeadline: unlimited,
    header: (name) => (name === 'x-user' ? user : undefined),
    open: (call, host) => new NullAttempt(call, host),
    reject: (rejection) => {
      throw new Error(rejection.details)
    },
    shadow: () => null,
  } as Exchange
}

function endpointsOf(count: number): EndpointSpec[] {
  return Array.from({ length: count }, (_, i) => ({
    address: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
    port: 80,
    weight: 1,
    priority: 0,
    locality: '',
    health: 'HEALTHY',
    tlsMode: 'plaintext',
    spiffeId: null,
    labels: {},
  }))
}

function clusterOf(name: string, lb: LbSpec, endpoints: readonly EndpointSpec[]): ClusterSpec {
  return {
    ...clusterDefaults,
    name,
    kind: 'eds',
    lb,
    connectTimeoutMs: 1_000,
    idleTimeoutMs: 60_000,
    limits: {
      maxConnections: unlimited,
      maxPendingRequests: unlimited,
      maxRequests: unlimited,
      maxRetries: unlimited,
      maxRequestsPerConnection: unlimited,
    },
    outlier: null,
    breaker: null,
    retryBudget: null,
    tls: { mode: 'plaintext', allowedIds: [] },
    panicThresholdPercent: 0,
    endpoints,
  }
}

function routeTo(cluster: string, hash: readonly HashSpec[]): RouteSpec {
  return {
    ...routeDefaults,
    name: 'default',
    match: {
      path: { kind: 'prefix', value: '/', ignoreCase: false },
      headers: [],
      query: [],
      fractionPerMillion: null,
    },
    action: { kind: 'forward', clusters: [{ name: cluster, weight: 1 }] },
    timeoutMs: 5_000,
    timeoutUntilHeaders: true,
    retry: null,
    hash,
    decidedBy: {},
  }
}

function makeEngine(lb: LbSpec, endpoints: number): () => void {
  const engine = new Engine({ clock: systemClock, random: systemRandom, events: null })
  const hashed = lb.policy === 'RING_HASH' || lb.policy === 'MAGLEV'
  const route = routeTo('c', hashed ? [{ kind: 'header', name: 'x-user', terminal: false }] : [])
  const virtualHosts = [{ name: 'v', domains: ['payments'], routes: [route] }]
  const listener: ListenerSpec = { name: 'payments', routes: { name: 'r', virtualHosts } }
  engine.apply({
    ...emptySnapshot,
    sequence: 1,
    listeners: new Map([['payments', listener]]),
    clusters: new Map([['c', clusterOf('c', lb, endpointsOf(endpoints))]]),
  })
  const exchanges = Array.from({ length: 512 }, (_, i) => exchangeFor('payments', `user-${i * 31}`))
  const outbound = engine.outbound('payments')!
  let next = 0
  return () => {
    const exchange = exchanges[next++ & 511]!
    const target = outbound.match(exchange, engine.random)
    if (target.kind !== 'route') throw new Error(target.kind)
    new Call(engine, exchange, target).run()
  }
}

function time(call: () => void): number {
  const begin = process.hrtime.bigint()
  for (let i = 0; i < CALLS; i++) call()
  return Number(process.hrtime.bigint() - begin) / CALLS
}

function compare(
  small: () => void,
  large: () => void,
): { smallNs: number; largeNs: number; ratio: ReturnType<typeof spread> } {
  for (let i = 0; i < 4; i++) {
    time(small)
    time(large)
  }
  const smalls: number[] = []
  const larges: number[] = []
  const ratios: number[] = []
  for (let i = 0; i < ROUNDS; i++) {
    const [a, b] = i % 2 === 0 ? [time(small), time(large)] : [time(large), time(small)].reverse()
    smalls.push(a!)
    larges.push(b!)
    ratios.push(b! / a!)
  }
  return { smallNs: spread(smalls).median, largeNs: spread(larges).median, ratio: spread(ratios) }
}

const policies: readonly LbSpec[] = [
  { policy: 'ROUND_ROBIN' },
  { policy: 'RANDOM' },
  { policy: 'LEAST_REQUEST', choiceCount: 2 },
  { policy: 'PEAK_EWMA', decayMs: 10_000 },
  {
    policy: 'RING_HASH',
    minimumRingSize: 1_024,
    maximumRingSize: 8_388_608,
    hashFunction: 'XX_HASH',
    balanceFactorPercent: 0,
    useHostname: false,
  },
  { policy: 'MAGLEV', tableSize: 65_537, balanceFactorPercent: 0, useHostname: false },
]

const failures: string[] = []
function report(name: string, small: () => void, large: () => void): void {
  const { smallNs, largeNs, ratio } = compare(small, large)
  const figures = `${smallNs.toFixed(0)} -> ${largeNs.toFixed(0)} ns`
  console.log(
    `${name.padEnd(36)}${figures.padStart(18)}   ${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)})`,
  )
  if (ratio.median > limit) failures.push(`${name}: ${ratio.median.toFixed(2)}, ${limit} allowed`)
}

console.log('a whole call                              small -> large   ratio (quartiles)')
for (const lb of policies) report(`${lb.policy}, 10 -> 10,000 endpoints`, makeEngine(lb, 10), makeEngine(lb, 10_000))
for (const failure of failures) console.error(`over the limit: ${failure}`)
process.exit(args.gate && failures.length > 0 ? 1 : 0)
