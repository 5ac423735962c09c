import { type Gates, judge, ms, percent } from './gates.ts'
import { type VersionStats, Window } from './measure.ts'
import type { MetricsSource } from './samples.ts'
import { type Document, splitHost, type Versions, weightOf, withWeight } from './weights.ts'

/** Annotation of the split object that holds where its rollout is. */
export const STATE = 'inmesh.dev/rollout'

export interface RolloutState {
  readonly phase: 'running' | 'done' | 'rolled-back' | 'aborted'
  /** Who runs it: the latest that started or resumed. */
  readonly runner: string
  /** Share of the new version at each step, %. */
  readonly steps: readonly number[]
  readonly step: number
  /** Share before it began: where a rollback goes. */
  readonly before: number
  /** Share set last. Another one in the object = somebody else changed it. */
  readonly weight: number
  readonly versions: Versions
}

export interface RolloutIo {
  get(): Promise<Document>
  /** All or nothing, as `inmesh apply`. */
  apply(document: Document): Promise<void>
  say(line: string): void
  /** Monotonic, ms. */
  now(): number
  sleep(ms: number): Promise<void>
}

export interface RolloutOptions {
  readonly runner: string
  readonly sources: readonly MetricsSource[]
  /** Labels `destination_version` of the two. */
  readonly labels: Versions
  readonly gates: Gates
  /** ms that a step is watched at least. */
  readonly bakeMs: number
  /** Between looks, ms. */
  readonly intervalMs: number
  /** A step that cannot be judged for so long is a bad one, ms. */
  readonly giveUpMs: number
}

export type RolloutEnd = 'done' | 'rolled-back' | 'left'

/** Puts the object under a rollout, at its first step. @throws Error when one is running or the object does not fit */
export async function begin(
  io: RolloutIo,
  runner: string,
  versions: Versions,
  steps: readonly number[],
): Promise<void> {
  const document = await io.get()
  splitHost(document, versions)
  if (stateOf(document)?.phase === 'running') throw new Error('a rollout of it is running: resume or abort that one')
  const before = weightOf(document, versions)
  if (before === undefined) throw new Error('its rules have different weights: make them equal first')
  // What a rollback could not write.
  if (!Number.isInteger(before)) throw new Error('its weights are not whole percents: make them so first')
  if (steps[0]! <= before) throw new Error(`the first step is ${steps[0]}%, the new version has ${before}% already`)
  await put(io, document, { phase: 'running', runner, steps, step: 0, before, weight: steps[0]!, versions })
  io.say(`step 1/${steps.length}: ${steps[0]}% to ${versions.to}`)
}

/** Takes a running rollout over. @throws Error when none is running */
export async function takeOver(io: RolloutIo, runner: string): Promise<RolloutState> {
  const document = await io.get()
  const state = running(document)
  await put(io, document, { ...state, runner })
  io.say(`resumed at step ${state.step + 1}/${state.steps.length}: ${state.weight}% to ${state.versions.to}`)
  return state
}

/** Ends a running rollout with the weights from before it. Whoever runs it notices. */
export async function abort(io: RolloutIo): Promise<void> {
  const document = await io.get()
  const state = running(document)
  await put(io, document, { ...state, phase: 'aborted', weight: state.before })
  io.say(`aborted: back to ${state.before}% to ${state.versions.to}`)
}

export function stateOf(document: Document): RolloutState | undefined {
  const text = document.metadata.annotations?.[STATE]
  return text === undefined ? undefined : (JSON.parse(text) as RolloutState)
}

function running(document: Document): RolloutState {
  const state = stateOf(document)
  if (state?.phase !== 'running') throw new Error('no rollout of it is running')
  return state
}

/** Runs what `begin` began to its end: watches each step, goes on or back. */
export async function run(io: RolloutIo, options: RolloutOptions): Promise<RolloutEnd> {
  let baseline: VersionStats | undefined
  for (;;) {
    const watched = await watch(io, options, baseline)
    if (watched.result === 'left') return 'left'
    baseline = watched.baseline
    const document = await io.get()
    const state = ours(document, options.runner, io)
    if (state === undefined) return 'left'
    const { steps, step, before, versions } = state
    if (watched.result === 'bad') {
      await put(io, document, { ...state, phase: 'rolled-back', weight: before })
      io.say(`rolled back to ${before}% to ${versions.to}`)
      return 'rolled-back'
    }
    const next = steps[step + 1]
    if (next === undefined) {
      await put(io, document, { ...state, phase: 'done' })
      io.say(`done: ${state.weight}% to ${versions.to}`)
      return 'done'
    }
    await put(io, document, { ...state, step: step + 1, weight: next })
    io.say(`step ${step + 2}/${steps.length}: ${next}% to ${versions.to}`)
  }
}

/** One step: bad as soon as it is known to be, good not before its time is over. */
async function watch(io: RolloutIo, options: RolloutOptions, last: VersionStats | undefined) {
  const { gates, bakeMs, intervalMs, giveUpMs, labels, runner } = options
  const document = await io.get()
  const state = ours(document, runner, io)
  if (state === undefined) return { result: 'left' as const, baseline: last }
  const window = new Window(options.sources, metricLabels(splitHost(document, state.versions), document))
  const start = io.now()
  await window.read()
  for (;;) {
    await io.sleep(intervalMs)
    const { answered, missing } = await window.read()
    for (const text of missing) io.say(`  no metrics from ${text}`)
    if (ours(await io.get(), runner, io) === undefined) return { result: 'left' as const, baseline: last }
    const candidate = window.of(labels.to, true)
    const current = window.of(labels.from)
    // At 100% the old version has no calls: what it did at the step before counts.
    const baseline = current.requests >= gates.minRequests ? current : last
    const { result, reasons } = judge(gates, candidate, baseline)
    const elapsed = io.now() - start
    io.say(`  ${Math.round(elapsed / 1000)}s  ${labels.to}: ${text(candidate)}   ${labels.from}: ${text(current)}`)
    if (result === 'bad') {
      for (const reason of reasons) io.say(`  bad: ${reason}`)
      return { result, baseline }
    }
    if (result === 'good' && answered > 0 && elapsed >= bakeMs) return { result, baseline }
    if (elapsed < giveUpMs) continue
    io.say(`  gave up: ${answered === 0 ? 'no metrics' : (reasons[0] ?? 'no metrics')}`)
    return { result: 'bad' as const, baseline }
  }
}

/** The state while it is this runner's; else says why it is not. */
function ours(document: Document, runner: string, io: RolloutIo): RolloutState | undefined {
  const state = stateOf(document)
  const why =
    state === undefined || state.phase !== 'running'
      ? `it is ${state?.phase ?? 'gone'}`
      : state.runner !== runner
        ? 'another process runs it'
        : weightOf(document, state.versions) !== state.weight
          ? 'somebody else changed the weights'
          : undefined
  if (why === undefined) return state
  io.say(`left as it is: ${why}`)
  return undefined
}

function put(io: RolloutIo, document: Document, state: RolloutState): Promise<void> {
  const { name, namespace, labels, annotations } = document.metadata
  return io.apply({
    ...document,
    metadata: {
      ...{ name, namespace },
      ...(labels === undefined ? {} : { labels }),
      annotations: { ...annotations, [STATE]: JSON.stringify(state) },
    },
    spec: withWeight(document, state.versions, state.weight),
  })
}

/** Calls as their callers see them. */
function metricLabels(host: string, { metadata }: Document): Record<string, string> {
  const [name = '', namespace = metadata.namespace, svc] = host.split('.')
  if (svc !== undefined && svc !== 'svc') return { reporter: 'source', destination_service: host }
  return {
    reporter: 'source',
    destination_service_name: name,
    destination_service_namespace: namespace,
  }
}

function text({ requests, successRate, p99 }: VersionStats): string {
  return `${requests} calls, ${percent(successRate)}, p99 ${ms(p99)}`
}
