import { clientSnapshot } from '../../control-plane/explain/client-snapshot.ts'
import { type AskedClient, viewOf } from '../../control-plane/explain/explain-for.ts'
import { type ImaginedEndpoint, type ImaginedService, imagineEndpoints } from '../../control-plane/explain/imagine.ts'
import { offlineTranslation } from '../../control-plane/explain/offline.ts'
import type { EndpointRecord } from '../../control-plane/store/store.ts'
import type { MeshSettings } from '../../control-plane/translate/types.ts'
import { Call } from '../engine/call.ts'
import { Engine } from '../engine/engine.ts'
import { explain } from '../engine/explain/explain.ts'
import type { ExplainRequest, Explanation } from '../engine/explain/explanation.ts'
import type { HostRuntime } from '../engine/host.ts'
import type { Interceptor } from '../engine/interceptor.ts'
import { kindFacts } from '../engine/outcome.ts'
import { Dice } from '../engine/testing/dice.ts'
import { InmeshError } from '../errors.ts'
import { type TestEnv, TestExchange } from './test-exchange.ts'
import { TestPeer } from './test-peer.ts'
import { VirtualTime } from './virtual-time.ts'

/** Configuration: YAML or JSON text, the objects themselves, or what `defineMesh` makes. */
export type TestResources = string | readonly object[] | { readonly resources: readonly object[] }

export type TestEndpoint = ImaginedEndpoint
export type TestService = ImaginedService

export interface TestMeshOptions {
  readonly resources?: TestResources
  /** By "name" (namespace default) or "name.namespace". */
  readonly services: Readonly<Record<string, TestService>>
  /** Who makes the calls. Default: the service "test" in namespace default. */
  readonly client?: AskedClient
  readonly settings?: Partial<MeshSettings>
  /** All chance follows from it. Default 1. */
  readonly seed?: number
}

export interface TestCallOptions extends ExplainRequest {
  /** ms that its caller waits; default: for ever. */
  readonly deadlineMs?: number
}

/** What became of a call; times in virtual ms. */
export interface TestResult {
  /** 0 = it is not over, or the caller got nothing. */
  readonly status: number
  /** Envoy's response flags; "-" = none. */
  readonly flags: string
  readonly details: string
  /** Name of the rule; '' = none matched. */
  readonly route: string
  /** null = answered here, or dialled without the mesh. */
  readonly cluster: string | null
  /** "payments/0": whose answer it is; null = nobody's. */
  readonly host: string | null
  readonly attempts: readonly TestAttemptResult[]
  readonly elapsedMs: number
  /** It left the mesh: no policy, no peer of this test. */
  readonly passthrough: boolean
}

export interface TestAttemptResult {
  readonly host: string
  /** 'response', 'connect-failure', 'reset', 'try-timeout', 'cancelled'... */
  readonly outcome: string
  /** 0 = no answer. */
  readonly status: number
  /** Since the begin of the call. */
  readonly startedAtMs: number
  readonly elapsedMs: number
}

/** Longest that `call` follows one call, virtual ms. */
const LONGEST = 3_600_000

/**
 * A mesh without processes, sockets or time: configuration takes the way it takes in production (validated, translated to
 * xDS, decoded, compiled), calls run through the engine itself, peers do what a test says, and a second takes no time.
 *
 *     const mesh = createTestMesh({ resources: yaml, services: { payments: { endpoints: 2 } } })
 *     mesh.peer('payments', 0).answers(503)
 *     expect(mesh.call({ url: 'http://payments/' }).status).toBe(200)
 */
export class TestMesh implements TestEnv {
  readonly time = new VirtualTime()
  readonly #engine: Engine
  readonly #peers = new Map<string, TestPeer>()
  readonly #byAddress = new Map<string, TestPeer>()
  readonly #options: TestMeshOptions
  readonly #authorities = new Set<string>()
  #endpoints: EndpointRecord[]
  #resources: TestResources

  /** @internal Use `createTestMesh`. */
  constructor(options: TestMeshOptions) {
    this.#options = options
    this.#resources = options.resources ?? ''
    const { random } = new Dice(options.seed ?? 1, 1)
    this.#engine = new Engine({ clock: this.time, random, events: null })
    this.time.drive(this.#engine.wheel)
    this.#endpoints = imagineEndpoints(options.services)
    for (const { instanceId, address, port } of this.#endpoints) {
      const peer = new TestPeer(instanceId, address, port)
      this.#peers.set(peer.name, peer)
      this.#byAddress.set(`${address}:${port}`, peer)
    }
    this.#apply()
  }

  /** Instance `index` of a service, named as in `services`. @throws InmeshError when there is none */
  peer(service: string, index = 0): TestPeer {
    const peer = this.#peers.get(`${service}/${index}`)
    if (peer === undefined) {
      const known = [...this.#peers.keys()].join(', ')
      throw new InmeshError('ERR_INMESH_INVALID_OPTION', `there is no peer ${service}/${index}; there are ${known}`)
    }
    return peer
  }

  /** Every instance of a service. */
  peers(service: string): TestPeer[] {
    return [...this.#peers.values()].filter((peer) => peer.name.startsWith(`${service}/`))
  }

  /** Which rule a request matches and why, where it goes, who is out; see `mesh.explain`. */
  explain(request: ExplainRequest): Explanation {
    this.#want(request.url)
    return explain(this.#engine, request)
  }

  /** Makes a call and lets time pass until it is over. */
  call(request: TestCallOptions): TestResult {
    const { exchange, result } = this.#begin(request)
    if (exchange !== null) this.time.until(() => exchange.endedAt !== null, LONGEST)
    return result()
  }

  /** Makes a call and lets no time pass: the function that comes back tells what has become of it so far. */
  start(request: TestCallOptions): () => TestResult {
    return this.#begin(request).result
  }

  #begin(request: TestCallOptions): { exchange: TestExchange | null; result: () => TestResult } {
    this.#want(request.url)
    const { time } = this
    const startedAt = time.now()
    const deadline = startedAt + (request.deadlineMs ?? Number.POSITIVE_INFINITY)
    const exchange = new TestExchange(this, request, deadline)
    const outbound = this.#engine.outbound(exchange.authority)
    const here = { cluster: null, host: null, attempts: [], elapsedMs: 0, passthrough: false }
    if (outbound === undefined)
      return atOnce({ ...here, status: 0, flags: '-', details: 'not_in_mesh', route: '', passthrough: true })
    const target = outbound.match(exchange, this.#engine.random)
    if (target.kind === 'passthrough')
      return atOnce({ ...here, status: 0, flags: '-', details: '', route: target.name, passthrough: true })
    if (target.kind === 'direct') {
      const { status, flag, details } = target.rejection
      return atOnce({ ...here, status, flags: flag, details, route: target.name })
    }
    const call = new Call(this.#engine, exchange, target)
    exchange.call = call
    call.run()
    return { exchange, result: () => this.#resultOf(exchange, call, startedAt) }
  }

  /** Code of the app in its calls; see `mesh.use`. */
  use(interceptor: Interceptor): () => void {
    return this.#engine.use(interceptor)
  }

  /** Lets virtual time pass, ms. */
  advance(ms: number): void {
    this.time.advance(ms)
  }

  /** Replaces the configuration while calls are under way, as a push of the control plane does. @throws ConfigError */
  apply(resources: TestResources): void {
    const before = this.#resources
    this.#resources = resources
    try {
      this.#apply()
    } catch (error) {
      this.#resources = before
      throw error
    }
  }

  /** Changes what the control plane knows of an instance: its health, weight or labels; null = it leaves. */
  update(service: string, index: number, change: TestEndpoint | null): void {
    const { address } = this.peer(service, index)
    this.#endpoints = this.#endpoints.flatMap((e) => {
      if (e.address !== address) return [e]
      if (change === null) return []
      return [{ ...e, ...change, labels: { ...e.labels, ...change.labels } }]
    })
    this.#apply()
  }

  /** @internal */
  peerAt(host: HostRuntime): TestPeer | undefined {
    return this.#byAddress.get(`${host.spec.address}:${host.spec.port}`)
  }

  #want(url: string): void {
    const { host } = new URL(url)
    if (this.#authorities.has(host)) return
    this.#authorities.add(host)
    this.#apply()
  }

  #apply(): void {
    const { settings, client = { service: 'test' }, services } = this.#options
    const resources = this.#resources
    const text =
      typeof resources === 'string' ? resources : textOf('resources' in resources ? resources.resources : resources)
    const known = Object.keys(services).map((key) => {
      const [service = '', namespace = 'default'] = key.split('.')
      return { service, namespace, firstSeenAt: 0 }
    })
    const mesh = { text, endpoints: this.#endpoints, services: known, ...(settings === undefined ? {} : { settings }) }
    const translation = offlineTranslation(mesh)
    const { snapshot } = clientSnapshot(translation, viewOf(client), { authorities: [...this.#authorities] })
    this.#engine.apply(snapshot)
  }

  #resultOf(exchange: TestExchange, call: Call, startedAt: number): TestResult {
    const { endedAt, rejection } = exchange
    const attempts = exchange.attempts.map((attempt) => ({
      host: attempt.peer?.name ?? attempt.host.address,
      outcome: kindFacts[attempt.kind]!.name,
      status: attempt.status,
      startedAtMs: attempt.startedAt - startedAt,
      elapsedMs: attempt.elapsedMs,
    }))
    const answered = exchange.attempts.find((attempt) => attempt.delivered)
    return {
      status: endedAt === null ? 0 : call.status,
      flags: call.flag,
      details: rejection?.details ?? call.details,
      route: call.route.name,
      cluster: call.cluster.name,
      host: answered?.peer?.name ?? null,
      attempts,
      elapsedMs: (endedAt ?? this.time.now()) - startedAt,
      passthrough: false,
    }
  }
}

function textOf(objects: readonly object[]): string {
  return objects.map((object) => JSON.stringify(object)).join('\n---\n')
}

function atOnce(result: TestResult): { exchange: null; result: () => TestResult } {
  return { exchange: null, result: () => result }
}

/**
 * A mesh in memory with a clock of its own, for tests of configuration.
 * @throws ConfigError when the configuration would be refused
 */
export function createTestMesh(options: TestMeshOptions): TestMesh {
  return new TestMesh(options)
}
