/**
 * What the mesh costs a client: `node bench/main.ts [--json file] [--quick] [--gate]`.
 *
 * One server process; one fresh client process per variant and epoch; rounds interleaved in random order, so that ratios
 * compare neighbours in time; `control` is `bare` again and shows the noise. Bytes are counted apart, in a window without
 * garbage collection. With --gate it exits with 1 when a budget is exceeded.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createTestCa } from '../test/support/test-ca.ts'
import {
  baseOf,
  type ClientSetup,
  type Credentials,
  type Round,
  type RoundResult,
  type ServerPorts,
  type ServerSetup,
  type Variant,
  variants,
} from './protocol.ts'
import { median, shuffled, spread } from './statistics.ts'

const { values: args } = parseArgs({
  options: { json: { type: 'string' }, quick: { type: 'boolean' }, gate: { type: 'boolean' } },
})

const CONCURRENCY = 16
/** Fewer leave the work of the compiler and of a heap that finds its size in the figures. */
const WARM_REQUESTS = 60_000
/** Rounds like those that count, thrown away: the first ones after a pause cost up to twice as much. */
const WARM_ROUNDS = 6
const plan = args.quick
  ? { epochs: 1, rounds: 5, requests: 4_000, byteProcesses: 1 }
  : { epochs: 4, rounds: 8, requests: 6_000, byteProcesses: 3 }
const BYTE_REQUESTS = 4_000
/** All garbage of a window fits in a young generation of this size. */
const BYTE_FLAGS = ['--expose-gc', '--min-semi-space-size=256', '--max-semi-space-size=256']

/** With every feature of a route configured. */
const budgets = { bytes: 3_200, cpuRatio: 1.2 }
/** One process may sit in a good or bad state of the compiler and the heap for its whole life: fewer prove nothing about CPU. */
const MIN_EPOCHS = 4
const gated: readonly Variant[] = ['mesh', 'mesh-mtls']
/** A Response costs more than an answer of undici.request; the platform's fetch costs 3.8 times as much. */
const fetchRatio = 1.35
/** A thousand services against one. */
const routesRatio = 1.1

const ca = createTestCa('cluster.local')
const serverId = 'spiffe://cluster.local/ns/default/sa/payments'
const credentialsOf = (id: string): Credentials => {
  const leaf = ca.issue(id)
  return { cert: leaf.certPem, key: leaf.keyPem, root: ca.rootPem }
}

function start(file: string, setup: ServerSetup | ClientSetup, flags: string[] = []): Promise<[ChildProcess, unknown]> {
  const child = fork(join(import.meta.dirname, file), { execArgv: flags })
  child.send(setup)
  return reply(child).then((first) => [child, first])
}

function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const died = (code: number | null) => reject(new Error(`a process of the benchmark died with ${code}`))
    child.once('exit', died)
    child.once('message', (message) => {
      child.off('exit', died)
      resolve(message)
    })
  })
}

async function run(child: ChildProcess, round: Partial<Round>): Promise<RoundResult> {
  const full: Round = { requests: plan.requests, concurrency: CONCURRENCY, bytes: false, ...round }
  child.send(full)
  return (await reply(child)) as RoundResult
}

async function client(variant: Variant, ports: ServerPorts, flags?: string[]): Promise<ChildProcess> {
  const credentials = credentialsOf('spiffe://cluster.local/ns/default/sa/orders')
  const [child] = await start(
    'client.ts',
    { variant, ports, credentials, serverId, trustDomain: 'cluster.local' },
    flags,
  )
  await run(child, { requests: WARM_REQUESTS })
  for (let i = 0; i < WARM_ROUNDS; i++) await run(child, {})
  return child
}

interface Samples {
  cpuUs: number[]
  ratio: number[]
  plusUs: number[]
  rps: number[]
  p50: number[]
  p99: number[]
  bytes: number[]
}

const empty = (): Samples => ({ cpuUs: [], ratio: [], plusUs: [], rps: [], p50: [], p99: [], bytes: [] })
const samples = new Map<Variant, Samples>(variants.map((v) => [v, empty()]))

async function epoch(ports: ServerPorts): Promise<void> {
  const clients = new Map<Variant, ChildProcess>()
  for (const variant of shuffled(variants)) clients.set(variant, await client(variant, ports))
  for (let i = 0; i < plan.rounds; i++) {
    const results = new Map<Variant, RoundResult>()
    for (const variant of shuffled(variants)) results.set(variant, await run(clients.get(variant)!, {}))
    for (const variant of variants) {
      const own = results.get(variant)!
      const base = results.get(baseOf[variant])!
      const into = samples.get(variant)!
      into.cpuUs.push(own.cpuUs)
      into.ratio.push(own.cpuUs / base.cpuUs)
      into.plusUs.push(own.cpuUs - base.cpuUs)
      into.rps.push(own.requestsPerSecond)
      into.p50.push(own.p50Ms)
      into.p99.push(own.p99Ms)
    }
  }
  for (const child of clients.values()) child.kill()
}

async function countBytes(ports: ServerPorts): Promise<void> {
  for (const variant of variants) {
    const child = await client(variant, ports, BYTE_FLAGS)
    for (let i = 0; i < 5; i++) {
      const { bytes } = await run(child, { requests: BYTE_REQUESTS, bytes: true })
      if (bytes !== null) samples.get(variant)!.bytes.push(bytes)
    }
    child.kill()
  }
}

function report(): { lines: string[]; failures: string[]; quiet: boolean; json: unknown } {
  const lines = [
    'variant      CPU us/req   ratio (quartiles)      + us    bytes/req   + bytes     req/s   p50 ms   p99 ms',
  ]
  const failures: string[] = []
  const json: Record<string, unknown> = {}
  const noise = spread(samples.get('control')!.ratio)
  // Where the same code differs from itself that much, nothing can be said about CPU; bytes do not depend on neighbours.
  const quiet = plan.epochs >= MIN_EPOCHS && Math.abs(noise.median - 1) <= 0.05 && noise.high - noise.low <= 0.2
  for (const variant of variants) {
    const s = samples.get(variant)!
    const ratio = spread(s.ratio)
    const bytes = median(s.bytes)
    const plusBytes = bytes - median(samples.get(baseOf[variant])!.bytes)
    const row = {
      cpuUs: median(s.cpuUs),
      ratio,
      plusUs: spread(s.plusUs),
      bytesPerRequest: bytes,
      plusBytes,
      requestsPerSecond: median(s.rps),
      p50Ms: median(s.p50),
      p99Ms: median(s.p99),
      base: baseOf[variant],
    }
    json[variant] = row
    const cell = (text: string, width: number) => text.padStart(width)
    lines.push(
      variant.padEnd(11) +
        cell(row.cpuUs.toFixed(1), 12) +
        cell(`${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)})`, 20) +
        cell(row.plusUs.median.toFixed(1), 10) +
        cell(bytes.toFixed(0), 13) +
        cell(plusBytes.toFixed(0), 10) +
        cell(row.requestsPerSecond.toFixed(0), 10) +
        cell(row.p50Ms.toFixed(3), 9) +
        cell(row.p99Ms.toFixed(3), 9),
    )
    if (variant === 'mesh-fetch' && quiet && !(ratio.median <= fetchRatio))
      failures.push(`${variant}: CPU ratio ${ratio.median.toFixed(2)}, ${fetchRatio} allowed`)
    if (variant === 'mesh-routes' && quiet && !(ratio.median <= routesRatio))
      failures.push(`${variant}: CPU ratio ${ratio.median.toFixed(2)}, ${routesRatio} allowed`)
    if (!gated.includes(variant)) continue
    // A count that never came is no pass.
    if (!(plusBytes <= budgets.bytes))
      failures.push(`${variant}: ${plusBytes.toFixed(0)} bytes more per request, ${budgets.bytes} allowed`)
    if (quiet && !(ratio.median <= budgets.cpuRatio))
      failures.push(`${variant}: CPU ratio ${ratio.median.toFixed(2)}, ${budgets.cpuRatio} allowed`)
  }
  return { lines, failures, quiet, json }
}

const [server, ports] = (await start('server.ts', { credentials: credentialsOf(serverId) })) as [
  ChildProcess,
  ServerPorts,
]
try {
  for (let i = 0; i < plan.epochs; i++) await epoch(ports)
  for (let i = 0; i < plan.byteProcesses; i++) await countBytes(ports)
} finally {
  server.kill()
}
const { lines, failures, quiet, json } = report()
console.log(
  `GET, 1 KB answer, HTTP/1.1, c=${CONCURRENCY}, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? '?'}`,
)
console.log(`${plan.epochs} fresh processes x ${plan.rounds} rounds x ${plan.requests} requests per variant\n`)
for (const line of lines) console.log(line)
if (!quiet)
  console.log('\nToo few processes or too noisy a control to judge CPU: only bytes are held against their budget.')
if (args.json !== undefined) {
  const machine = { node: process.version, cpus: cpus().length, model: cpus()[0]?.model }
  writeFileSync(
    args.json,
    `${JSON.stringify({ machine, plan: { ...plan, concurrency: CONCURRENCY }, budgets, variants: json, failures }, null, 2)}\n`,
  )
}
for (const failure of failures) console.error(`over budget: ${failure}`)
if (args.gate && failures.length > 0) process.exit(1)
