/**
 * Compares variants of one kind of request: one server process; one fresh client process per variant and epoch; rounds
 * interleaved in random order, so that ratios compare neighbours in time; the variant `control` is `bare` again and shows the
 * noise. Bytes are counted apart, in a window without garbage collection, after a collection in the midst of requests and
 * some more requests: see `collect` in measured.ts.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { cpus } from 'node:os'
import type { Round, RoundResult } from './protocol.ts'
import { median, shuffled, spread } from './statistics.ts'

const CONCURRENCY = 16
/** Rounds like those that count, thrown away: the first ones after a pause cost up to twice as much. */
const WARM_ROUNDS = 6
/**
 * In its first seconds a process may find that much of what some lines of code make outlives a collection, as it does beside a
 * large heap that is being built, and V8 then makes all objects of those lines in the old generation for good. Garbage there
 * keeps other garbage alive: 5 to 10 us per request of bare undici and of the mesh alike. Whether it happens is chance, more
 * likely the larger the heap, and says nothing about the code that is compared, so it is switched off for all variants.
 */
const FLAGS = ['--no-allocation-site-pretenuring']
/** All garbage of a window fits in a young generation of this size; an old one that seems to grow must not end the window. */
const BYTE_FLAGS = [
  ...FLAGS,
  '--expose-gc',
  '--min-semi-space-size=256',
  '--max-semi-space-size=256',
  '--no-incremental-marking',
]
/** One process may sit in a good or bad state of the compiler and the heap for its whole life: fewer prove nothing about CPU. */
const MIN_EPOCHS = 4

/** The longest that a round takes, by far. */
const ANSWER_MS = 120_000

export interface Plan {
  /** Fresh processes per variant. */
  readonly epochs: number
  readonly rounds: number
  /** Per round. */
  readonly requests: number
  readonly byteProcesses: number
  /** Before anything counts: fewer leave the work of the compiler and of a heap that finds its size in the figures. */
  readonly warmRequests: number
  /** In a window without garbage collection. */
  readonly byteRequests: number
}

export interface Contest<V extends string> {
  readonly variants: readonly V[]
  /** Against which variant each is measured. */
  readonly baseOf: Readonly<Record<V, V>>
  readonly plan: Plan
  readonly serverFile: string
  readonly serverSetup: object
  readonly clientFile: string
  /** @param server the first message of the server process */
  clientSetup(variant: V, server: unknown): object | Promise<object>
}

export interface Row {
  readonly cpuUs: number
  readonly ratio: { readonly median: number; readonly low: number; readonly high: number }
  readonly plusUs: { readonly median: number; readonly low: number; readonly high: number }
  readonly bytesPerRequest: number
  readonly plusBytes: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly base: string
}

export interface Result<V extends string> {
  readonly rows: ReadonlyMap<V, Row>
  /** Whether the same code differs little enough from itself to judge CPU; bytes do not depend on neighbours. */
  readonly quiet: boolean
}

interface Samples {
  readonly cpuUs: number[]
  readonly ratio: number[]
  readonly plusUs: number[]
  readonly rps: number[]
  readonly p50: number[]
  readonly p99: number[]
  readonly bytes: number[]
}

const empty = (): Samples => ({ cpuUs: [], ratio: [], plusUs: [], rps: [], p50: [], p99: [], bytes: [] })

/** @param control the variant that is its base's code again */
export async function compare<V extends string>(contest: Contest<V>, control: V): Promise<Result<V>> {
  const { variants, baseOf, plan } = contest
  const samples = new Map<V, Samples>(variants.map((v) => [v, empty()]))
  const [, first] = await start(contest.serverFile, contest.serverSetup)
  try {
    for (let i = 0; i < plan.epochs; i++) await epoch(contest, first, samples)
    for (let i = 0; i < plan.byteProcesses; i++) await countBytes(contest, first, samples)
  } finally {
    // Those of a run that failed, too: as long as one lives, this process does.
    for (const child of children) child.kill('SIGKILL')
  }
  const rows = new Map<V, Row>()
  for (const variant of variants) {
    const s = samples.get(variant)!
    const bytes = median(s.bytes)
    rows.set(variant, {
      cpuUs: median(s.cpuUs),
      ratio: spread(s.ratio),
      plusUs: spread(s.plusUs),
      bytesPerRequest: bytes,
      plusBytes: bytes - median(samples.get(baseOf[variant])!.bytes),
      requestsPerSecond: median(s.rps),
      p50Ms: median(s.p50),
      p99Ms: median(s.p99),
      base: baseOf[variant],
    })
  }
  const noise = rows.get(control)!.ratio
  const quiet = plan.epochs >= MIN_EPOCHS && Math.abs(noise.median - 1) <= 0.05 && noise.high - noise.low <= 0.2
  return { rows, quiet }
}

/** What was measured and how, then the table. @param what e.g. "GET, 1 KB answer, HTTP/1.1" */
export function table<V extends string>(what: string, plan: Plan, { rows, quiet }: Result<V>): string {
  const cell = (text: string, width: number) => text.padStart(width)
  const width = Math.max(11, ...[...rows.keys()].map((name) => name.length + 1))
  const lines = [
    `${what}, c=${CONCURRENCY}, Node ${process.version}, ${cpus().length} x ${cpus()[0]?.model ?? '?'}`,
    `${plan.epochs} fresh processes x ${plan.rounds} rounds x ${plan.requests} requests per variant`,
    '',
    `${'variant'.padEnd(width)}  CPU us/req   ratio (quartiles)      + us    bytes/req   + bytes     req/s   p50 ms   p99 ms`,
  ]
  for (const [variant, { ratio, ...row }] of rows)
    lines.push(
      variant.padEnd(width) +
        cell(row.cpuUs.toFixed(1), 12) +
        cell(`${ratio.median.toFixed(2)} (${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)})`, 20) +
        cell(row.plusUs.median.toFixed(1), 10) +
        cell(row.bytesPerRequest.toFixed(0), 13) +
        cell(row.plusBytes.toFixed(0), 10) +
        cell(row.requestsPerSecond.toFixed(0), 10) +
        cell(row.p50Ms.toFixed(3), 9) +
        cell(row.p99Ms.toFixed(3), 9),
    )
  if (!quiet)
    lines.push('', 'Too few processes or too noisy a control to judge CPU: only bytes are held against their budget.')
  return lines.join('\n')
}

/** For `--json`. */
export function asJson<V extends string>(plan: Plan, { rows }: Result<V>, more: object): string {
  const machine = { node: process.version, cpus: cpus().length, model: cpus()[0]?.model }
  const variants = Object.fromEntries(rows)
  return `${JSON.stringify({ machine, plan: { ...plan, concurrency: CONCURRENCY }, variants, ...more }, null, 2)}\n`
}

const children = new Set<ChildProcess>()

function start(file: string, setup: object, flags: string[] = []): Promise<[ChildProcess, unknown]> {
  const child = fork(file, { execArgv: flags })
  children.add(child)
  child.once('exit', () => children.delete(child))
  child.send(setup)
  return reply(child).then((first) => [child, first])
}

function reply(child: ChildProcess): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const died = (code: number | null) => fail(`died with ${code}`)
    const timer = setTimeout(() => fail(`did not answer for ${ANSWER_MS / 1000} s`), ANSWER_MS)
    const fail = (what: string) => {
      clearTimeout(timer)
      reject(new Error(`a process of the benchmark ${what}`))
    }
    if (child.exitCode !== null || child.signalCode !== null) died(child.exitCode)
    child.once('exit', died)
    child.once('message', (message) => {
      clearTimeout(timer)
      child.off('exit', died)
      resolve(message)
    })
  })
}

async function run(child: ChildProcess, plan: Plan, round: Partial<Round>): Promise<RoundResult> {
  const full: Round = { requests: plan.requests, concurrency: CONCURRENCY, bytes: false, ...round }
  child.send(full)
  return (await reply(child)) as RoundResult
}

async function client<V extends string>(contest: Contest<V>, variant: V, server: unknown, flags: string[]) {
  const { plan } = contest
  const [child] = await start(contest.clientFile, await contest.clientSetup(variant, server), flags)
  await run(child, plan, { requests: plan.warmRequests })
  for (let i = 0; i < WARM_ROUNDS; i++) await run(child, plan, {})
  return child
}

async function epoch<V extends string>(contest: Contest<V>, server: unknown, samples: Map<V, Samples>): Promise<void> {
  const { variants, baseOf, plan } = contest
  const clients = new Map<V, ChildProcess>()
  for (const variant of shuffled(variants)) clients.set(variant, await client(contest, variant, server, FLAGS))
  for (let i = 0; i < plan.rounds; i++) {
    const results = new Map<V, RoundResult>()
    for (const variant of shuffled(variants)) results.set(variant, await run(clients.get(variant)!, plan, {}))
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

async function countBytes<V extends string>(
  contest: Contest<V>,
  server: unknown,
  samples: Map<V, Samples>,
): Promise<void> {
  for (const variant of contest.variants) {
    const child = await client(contest, variant, server, BYTE_FLAGS)
    for (let i = 0; i < 5; i++) {
      const { bytes } = await run(child, contest.plan, { requests: contest.plan.byteRequests, bytes: true })
      if (bytes !== null) samples.get(variant)!.bytes.push(bytes)
    }
    child.kill()
  }
}
