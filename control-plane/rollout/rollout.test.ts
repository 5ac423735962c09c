import { describe, expect, it } from 'vitest'
import { quantile } from './measure.ts'
import { abort, begin, type RolloutIo, run, stateOf, takeOver } from './rollout.ts'
import { type MetricsSource, parseSamples, type Sample } from './samples.ts'
import { type Document, weightOf } from './weights.ts'

const versions = { from: 'v1', to: 'v2' }
const split: Document = {
  apiVersion: 'inmesh.dev/v1',
  kind: 'TrafficSplit',
  metadata: { name: 'canary', namespace: 'default' },
  spec: { destinationService: 'payments', v1Weight: 100, v2Weight: 0 },
}
const to = (subset: string, weight: number) => ({ destination: { host: 'payments.shop', subset }, weight })
const virtualService: Document = {
  apiVersion: 'networking.istio.io/v1',
  kind: 'VirtualService',
  metadata: { name: 'payments', namespace: 'default' },
  spec: {
    hosts: ['payments'],
    http: [{ match: [{ headers: { beta: {} } }], route: [to('v2', 100)] }, { route: [to('v1', 100), to('v2', 0)] }],
  },
}

/** A store, a clock and callers whose calls become what `outcome` says; time passes by sleeping only. */
class World implements RolloutIo {
  readonly lines: string[] = []
  readonly weights: (number | undefined)[] = []
  document: Document
  time = 0
  /** Calls per second, of which so many of v2 fail; p99 of v2 by its bucket. */
  outcome = { rate: 100, v2Failures: 0, v2Ms: '10', nowhere: 0 }
  onSleep: () => Promise<void> | void = () => {}
  asked: Readonly<Record<string, string>> = {}
  down = false
  readonly #counters = new Map<string, Sample>()

  constructor(document: Document) {
    this.document = document
  }
  readonly source: MetricsSource = {
    name: 'callers',
    read: async (labels) => {
      this.asked = labels
      if (this.down) throw new Error('refused')
      return [...this.#counters.values()]
    },
  }
  async get() {
    return structuredClone(this.document)
  }
  async apply(document: Document) {
    this.document = document
    this.weights.push(weightOf(document, versions))
  }
  say(line: string) {
    this.lines.push(line)
  }
  now() {
    return this.time
  }
  async sleep(ms: number) {
    this.time += ms
    const { rate, v2Failures, v2Ms, nowhere } = this.outcome
    const calls = (rate * ms) / 1000
    const v2 = (calls * weightOf(this.document, versions)!) / 100
    this.#count('v1', '200', calls - v2, '10')
    this.#count('v2', '500', v2 * v2Failures, v2Ms)
    this.#count('v2', '200', v2 * (1 - v2Failures), v2Ms)
    this.#count('unknown', '503', v2 * nowhere, '10')
    await this.onSleep()
  }
  #count(version: string, code: string, calls: number, le: string): void {
    const labels = { destination_version: version, response_code: code, response_flags: '-' }
    this.#add({ name: 'istio_requests_total', labels, value: calls })
    const name = 'istio_request_duration_milliseconds_bucket'
    for (const bound of ['10', '1000', '+Inf'])
      this.#add({
        name,
        labels: { ...labels, le: bound },
        value: Number(le) <= Number(bound.slice(-4)) || bound === '+Inf' ? calls : 0,
      })
  }
  #add(sample: Sample): void {
    const key = JSON.stringify([sample.name, sample.labels])
    this.#counters.set(key, { ...sample, value: sample.value + (this.#counters.get(key)?.value ?? 0) })
  }
}

const options = (world: World, gates = {}) => ({
  runner: 'me',
  sources: [world.source],
  labels: versions,
  gates: { minSuccessRate: 0.99, minRequests: 20, ...gates },
  ...{ bakeMs: 60_000, intervalMs: 10_000, giveUpMs: 300_000 },
})

describe.each([split, virtualService])('a rollout of a $kind', (document) => {
  it('goes up step by step when the new version is good', async () => {
    const world = new World(document)
    await begin(world, 'me', versions, [5, 50, 100])
    expect(await run(world, options(world, { maxSuccessDrop: 0.01, maxP99Ratio: 1.5 }))).toBe('done')
    expect(world.weights).toEqual([5, 50, 100, 100])
    expect(world.time).toBe(180_000)
    expect(stateOf(world.document)).toMatchObject({ phase: 'done', step: 2, before: 0 })
    expect(
      await world.get().then((d) => (d.spec.http as { route: unknown[] }[] | undefined)?.[0]?.route ?? null),
    ).toEqual(document === split ? null : [to('v2', 100)])
  })

  it('goes back as soon as the new version is known to be bad', async () => {
    const world = new World(document)
    world.outcome.v2Failures = 0.5
    await begin(world, 'me', versions, [5, 100])
    expect(await run(world, options(world))).toBe('rolled-back')
    expect(world.weights).toEqual([5, 0])
    expect(world.time).toBe(10_000)
    expect(world.lines).toContain('  bad: success rate 50% is below 99%')
  })
})

describe('what is bad', () => {
  it.each([
    ['slower than it may be', { v2Ms: '1000' }, { maxP99: 100 }],
    ['slower than the old version', { v2Ms: '1000' }, { maxP99Ratio: 2 }],
    ['worse than the old version', { v2Failures: 0.03 }, { minSuccessRate: 0.9, maxSuccessDrop: 0.01 }],
    ['without hosts: its calls fail before they get to a version', { nowhere: 1 }, {}],
  ])('%s', async (_, outcome, gates) => {
    const world = new World(split)
    Object.assign(world.outcome, outcome)
    await begin(world, 'me', versions, [20])
    expect(await run(world, options(world, gates))).toBe('rolled-back')
    expect(world.lines.some((line) => line.startsWith('  bad: '))).toBe(true)
  })

  it.each(['too few calls', 'no metrics'])('%s until it gives up', async (what) => {
    const world = new World(split)
    if (what === 'no metrics') world.down = true
    else world.outcome.rate = 0.1
    await begin(world, 'me', versions, [5])
    expect(await run(world, options(world))).toBe('rolled-back')
    expect(world.time).toBe(300_000)
  })
})

describe('who else acts on it', () => {
  it('an abort elsewhere ends it with the weights from before', async () => {
    const world = new World(split)
    await begin(world, 'me', versions, [5, 100])
    world.onSleep = () => abort(world)
    expect(await run(world, options(world))).toBe('left')
    expect(world.weights).toEqual([5, 0])
  })

  it('weights that somebody sets stay', async () => {
    const world = new World(split)
    await begin(world, 'me', versions, [5, 100])
    world.onSleep = () => {
      world.document = { ...world.document, spec: { ...world.document.spec, v1Weight: 70, v2Weight: 30 } }
    }
    expect(await run(world, options(world))).toBe('left')
    expect(weightOf(world.document, versions)).toBe(30)
  })

  it('one that ended is taken over where it was, and the other one leaves', async () => {
    const world = new World(split)
    await begin(world, 'first', versions, [5, 100])
    await expect(begin(world, 'second', versions, [50])).rejects.toThrow('is running')
    await takeOver(world, 'me')
    expect(await run(world, { ...options(world), runner: 'first' })).toBe('left')
    expect(await run(world, options(world))).toBe('done')
    await expect(takeOver(world, 'me')).rejects.toThrow('no rollout')
  })

  it('refuses what has no such weights', async () => {
    const world = new World(virtualService)
    await expect(begin(world, 'me', { from: 'v1', to: 'v3' }, [5])).rejects.toThrow('no rule splits')
    world.document = { ...split, spec: { ...split.spec, v1Weight: 50, v2Weight: 50 } }
    await expect(begin(world, 'me', versions, [50])).rejects.toThrow('has 50% already')
    world.document = { ...split, spec: { ...split.spec, v1Weight: 2, v2Weight: 1 } }
    await expect(begin(world, 'me', versions, [50])).rejects.toThrow('whole percents')
  })
})

describe('metrics', () => {
  it('asks for the calls of the service as callers see them', async () => {
    const world = new World(virtualService)
    await begin(world, 'me', versions, [50])
    await run(world, options(world))
    expect(world.asked).toEqual({
      ...{ reporter: 'source', destination_service_name: 'payments', destination_service_namespace: 'shop' },
    })
  })

  it('reads the text format, with quotes and braces in labels', () => {
    const text = '# TYPE x counter\nother{a="1"} 2\nistio_requests_total{a="x\\"} 9 b",response_code="200"} 3\n'
    expect(parseSamples(text)).toEqual([
      { name: 'istio_requests_total', labels: { a: 'x"} 9 b', response_code: '200' }, value: 3 },
    ])
  })

  it('interpolates quantiles inside a bucket', () => {
    const inf = Number.POSITIVE_INFINITY
    expect(
      quantile(
        0.5,
        new Map([
          [10, 0],
          [20, 100],
          [inf, 100],
        ]),
      ),
    ).toBe(15)
    expect(
      quantile(
        0.99,
        new Map([
          [10, 1],
          [inf, 100],
        ]),
      ),
    ).toBe(10)
    expect(quantile(0.99, new Map())).toBeNaN()
  })
})
