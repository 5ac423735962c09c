import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command, InvalidArgumentError } from 'commander'
import type { Gates } from '../rollout/gates.ts'
import { abort, begin, type RolloutIo, run, stateOf, takeOver } from '../rollout/rollout.ts'
import { prometheus, scrape } from '../rollout/samples.ts'
import { type Document, splitHost, weightOf } from '../rollout/weights.ts'
import { AdminClient, type ConnectionFlags, Refused, withConnection } from './admin-client.ts'
import { duration } from './duration.ts'
import { Failure } from './failure.ts'

interface Flags extends ConnectionFlags, Partial<Gates> {
  readonly namespace: string
  readonly steps: number[]
  readonly from: string
  readonly to: string
  readonly fromVersion?: string
  readonly toVersion?: string
  readonly metrics?: string[]
  readonly prometheus?: string
  readonly bake: number
  readonly interval?: number
  readonly giveUp?: number
  readonly minRequests: number
  readonly dryRun?: boolean
}

/** `inmesh rollout start|resume|abort|status KIND NAME`: gives a new version its share step by step, by what calls became of it. */
export function rolloutCommand(): Command {
  const group = new Command('rollout').description('shift calls to a new version step by step, and back when it is bad')
  const start = withGates(target('start', 'begin a rollout and run it to its end; exit code 1 when it was rolled back'))
    .option(
      '--steps <percents>',
      'share of the new version at each step, such as 5,25,50,100',
      percents,
      [5, 25, 50, 100],
    )
    .option('--from <subset>', 'old version', 'v1')
    .option('--to <subset>', 'new version', 'v2')
    .option('--dry-run', 'check, and say what would be done', false)
    .action(async (kind: string, name: string, flags: Flags) => {
      const io = ioOf(kind, name, flags)
      const versions = { from: flags.from, to: flags.to }
      const options = optionsOf(flags, versions)
      if (flags.steps[0] === 100 && (flags.maxSuccessDrop ?? flags.maxP99Ratio) !== undefined)
        throw new Failure('with 100% at once there is no old version to compare with: use the other gates', 2)
      if (flags.dryRun) return plan(await io.get(), flags)
      await checked(() => begin(io, options.runner, versions, flags.steps))
      await finish(io, options)
    })
  const resume = withGates(target('resume', 'go on with a rollout whose process ended')).action(
    async (kind: string, name: string, flags: Flags) => {
      const io = ioOf(kind, name, flags)
      const runner = randomUUID()
      const { versions } = await checked(() => takeOver(io, runner))
      await finish(io, { ...optionsOf(flags, versions), runner })
    },
  )
  const stop = target('abort', 'end a rollout: the weights from before it').action(
    async (kind: string, name: string, flags: Flags) => checked(() => abort(ioOf(kind, name, flags))),
  )
  const status = target('status', 'where a rollout is').action(async (kind: string, name: string, flags: Flags) => {
    const state = stateOf(await ioOf(kind, name, flags).get())
    if (state === undefined) throw new Failure('it had no rollout yet')
    const { phase, step, steps, weight, versions } = state
    process.stdout.write(`${phase}, step ${step + 1}/${steps.length}, ${weight}% to ${versions.to}\n`)
  })
  for (const command of [start, resume, stop, status]) group.addCommand(command)
  return group
}

function target(name: string, text: string): Command {
  return withConnection(new Command(name))
    .description(text)
    .argument('<kind>', 'TrafficSplit or VirtualService')
    .argument('<name>')
    .option('-n, --namespace <name>', 'of the object', 'default')
}

function withGates(command: Command): Command {
  return command
    .option('--metrics <url...>', '/metrics of callers of the service, such as http://127.0.0.1:15020/metrics')
    .option('--prometheus <url>', 'Prometheus that scrapes the callers')
    .option('--from-version <label>', 'label "version" of the old one, when its subset is named otherwise')
    .option('--to-version <label>', 'label "version" of the new one, when its subset is named otherwise')
    .option('--bake <duration>', 'how long each step is watched', duration, 120_000)
    .option('--interval <duration>', 'between looks; default a sixth of --bake', duration)
    .option('--give-up <duration>', 'a step that cannot be judged so long is bad; default ten times --bake', duration)
    .option('--min-requests <count>', 'nothing is judged by fewer calls', positive, 20)
    .option('--min-success-rate <percent>', 'default 99 when no gate is given', ratio)
    .option('--max-p99 <duration>', 'of the new version', duration)
    .option('--max-success-drop <percent>', 'how far it may be below the old version', ratio)
    .option('--max-p99-ratio <factor>', 'of its p99 to that of the old version', positive)
}

function optionsOf(flags: Flags, versions: { from: string; to: string }) {
  const sources = (flags.metrics ?? []).map(scrape)
  if (flags.prometheus !== undefined) sources.push(prometheus(flags.prometheus))
  if (sources.length === 0)
    throw new Failure('a rollout needs --metrics or --prometheus: it goes by what calls became', 2)
  const { minSuccessRate, maxP99, maxSuccessDrop, maxP99Ratio, minRequests, bake } = flags
  const given = { minSuccessRate, maxP99, maxSuccessDrop, maxP99Ratio }
  const gates = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  const { interval = bake / 6, giveUp = bake * 10 } = flags
  return {
    runner: randomUUID(),
    sources,
    labels: { from: flags.fromVersion ?? versions.from, to: flags.toVersion ?? versions.to },
    gates: { ...(Object.keys(gates).length === 0 ? { minSuccessRate: 0.99 } : gates), minRequests },
    bakeMs: bake,
    intervalMs: Math.max(interval, 10),
    giveUpMs: giveUp,
  }
}

async function finish(io: RolloutIo, options: ReturnType<typeof optionsOf>): Promise<void> {
  const end = await run(patient(io), options)
  if (end === 'rolled-back') throw new Failure('the new version is bad, the weights are those from before')
  if (end === 'left') throw new Failure('the rollout is not this process’s any more')
}

function plan(document: Document, { from, to, steps, bake }: Flags): void {
  const versions = { from, to }
  let host: string
  try {
    host = splitHost(document, versions)
  } catch (error) {
    throw new Failure((error as Error).message)
  }
  const shares = [weightOf(document, versions) ?? '?', ...steps].map((s) => `${s}%`).join(' -> ')
  process.stdout.write(`${host}: ${to} ${shares}, at least ${bake / 1000}s each (dry run)\n`)
}

/** What the object or its state does not allow, in one line. */
async function checked<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw error instanceof Failure ? error : new Failure((error as Error).message)
  }
}

function ioOf(kind: string, name: string, flags: Flags): RolloutIo {
  const client = new AdminClient(flags)
  const path = `/v1/${[kind, flags.namespace, name].map(encodeURIComponent).join('/')}`
  return {
    get: () => client.json<Document>(path),
    apply: async (document) => {
      await client.request('/v1/apply', { method: 'POST', body: JSON.stringify(document) })
    },
    say: (line) => void process.stdout.write(`${line}\n`),
    now: () => performance.now(),
    sleep: (time) => sleep(time),
  }
}

/** A control plane that restarts must not end a rollout half way: what does not answer is asked again for a minute. */
function patient(io: RolloutIo): RolloutIo {
  const again = async <T>(work: () => Promise<T>): Promise<T> => {
    const end = io.now() + 60_000
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (error instanceof Refused || io.now() > end) throw error
        await io.sleep(1_000)
      }
    }
  }
  return { ...io, get: () => again(() => io.get()), apply: (document) => again(() => io.apply(document)) }
}

function percents(text: string): number[] {
  const steps = text.split(',').map(Number)
  if (steps.some((s, i) => !Number.isInteger(s) || s > 100 || s <= (steps[i - 1] ?? 0)))
    throw new InvalidArgumentError('expected rising whole percents like 5,25,50,100.')
  return steps
}

function positive(text: string): number {
  if (!(Number(text) > 0)) throw new InvalidArgumentError('expected a number above 0.')
  return Number(text)
}

function ratio(text: string): number {
  const value = Number(text.replace(/%$/, ''))
  if (!(value >= 0 && value <= 100)) throw new InvalidArgumentError('expected a percentage like 99.5.')
  return value / 100
}
