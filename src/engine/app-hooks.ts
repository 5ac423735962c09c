import { InmeshError } from '../errors.ts'
import { isTransportHeader } from '../match/format.ts'
import type { Call } from './call.ts'
import type { CallEvents } from './events.ts'
import { hostName } from './explain/hosts.ts'
import type { Classification, ClassifiedResponse, InterceptedRequest, Interceptor, LocalAnswer } from './interceptor.ts'
import { Classified } from './outcome.ts'
import type { Policy } from './policy.ts'
import { grpcStatusOf, Rejection } from './rejection.ts'
import type { Route } from './route.ts'
import { withoutPort } from './virtual-host.ts'

/** ms; a hook that takes longer is told of once. */
const SLOW_MS = 5
const MAX_BODY_BYTES = 16_384

/** What the app's hooks are to one route; null = there are none of the kind. */
export interface RouteHooks {
  readonly gate: Policy | null
  readonly classifier: Classifier | null
}

/** Judges answers before the engine does. */
export interface Classifier {
  /** Bytes of the body that it wants to see first; 0 = none. */
  readonly bodyBytes: number
  classify(call: Call, response: Omit<ClassifiedResponse, 'request'>): Classified
}

export const noHooks: RouteHooks = { gate: null, classifier: null }

/** What interceptors did, and what they did wrong. */
export interface HookCounters {
  readonly name: string
  errors: number
  /** Hooks that took longer than 5 ms. */
  slow: number
  /** Calls answered in place of a peer. */
  answered: number
  success: number
  failure: number
  retryable: number
}

export interface HookTrouble {
  readonly interceptor: string
  readonly hook: 'onRequest' | 'classify' | 'onEnd'
  /** null = it was only slow. */
  readonly error: unknown
  readonly elapsedMs: number
}

/** The interceptors of one process, in the order in which they were added. */
export class AppHooks {
  private list: readonly Hooked[] = []
  /** Told of the first error and the first slow hook of each interceptor. */
  trouble: ((trouble: HookTrouble) => void) | null = null

  add(interceptor: Interceptor): () => void {
    check(interceptor)
    const hooked = new Hooked(interceptor, (trouble) => this.trouble?.(trouble))
    this.list = [...this.list, hooked]
    return () => {
      this.list = this.list.filter((other) => other !== hooked)
    }
  }

  get counters(): readonly HookCounters[] {
    return this.list.map((hooked) => hooked.counters)
  }

  /** @param listener as dialled */
  of(listener: string, cluster: string): RouteHooks {
    if (this.list.length === 0) return noHooks
    const mine = this.list.filter((hooked) => hooked.isFor(listener, cluster))
    const gates = mine.filter(({ interceptor }) => interceptor.onRequest !== undefined)
    const judges = mine.filter(({ interceptor }) => interceptor.classify !== undefined).reverse()
    return {
      gate: gates.length === 0 ? null : new HookGate(gates),
      classifier: judges.length === 0 ? null : new HookClassifier(judges),
    }
  }

  /** null = nobody wants to know how calls end. */
  events(): CallEvents | null {
    const enders = this.list.filter(({ interceptor }) => interceptor.onEnd !== undefined)
    if (enders.length === 0) return null
    return {
      callStart() {},
      attemptStart() {},
      attemptEnd() {},
      callEnd(call, now) {
        if (call.route.shadow) return
        for (const hooked of enders) if (hooked.isFor(call.exchange.authority, call.cluster.name)) hooked.end(call, now)
      },
    }
  }
}

/** One interceptor with its guard: no hook of it throws out of here. */
class Hooked {
  readonly interceptor: Interceptor
  readonly counters: HookCounters
  private readonly report: (trouble: HookTrouble) => void
  private readonly services: ReadonlySet<string> | null
  private toldSlow = false
  private toldError = false

  constructor(interceptor: Interceptor, report: (trouble: HookTrouble) => void) {
    const { name, services } = interceptor
    this.interceptor = interceptor
    this.report = report
    this.services = services === undefined ? null : new Set(services.map((s) => s.toLowerCase()))
    this.counters = { name, errors: 0, slow: 0, answered: 0, success: 0, failure: 0, retryable: 0 }
  }

  isFor(listener: string, cluster: string): boolean {
    if (this.services === null) return true
    return this.services.has(withoutPort(listener)) || this.services.has(cluster.split('|')[3] ?? cluster)
  }

  /** @returns why the call ends here */
  request(call: Call, now: number): Rejection | undefined {
    const { name, onError } = this.interceptor
    try {
      const answer = this.interceptor.onRequest!(new RequestOf(call))
      this.finished('onRequest', answer, call, now)
      if (answer === undefined) return undefined
      const rejection = rejectionOf((answer as LocalAnswer).respond, name)
      this.counters.answered++
      return rejection
    } catch (error) {
      this.failed('onRequest', error)
      return onError === 'ignore' ? undefined : broken(name)
    }
  }

  classify(call: Call, response: ClassifiedResponse): Classified {
    try {
      const now = call.env.clock.now()
      const says = this.interceptor.classify!(response)
      this.finished('classify', says, call, now)
      if (says === undefined) return Classified.Not
      const classified = classifications.get(says)
      if (classified === undefined) throw invalid(`classify of ${this.interceptor.name} says ${JSON.stringify(says)}`)
      this.counters[says]++
      return classified
    } catch (error) {
      this.failed('classify', error)
      return Classified.Not
    }
  }

  end(call: Call, now: number): void {
    const { exchange, route, cluster, latest } = call
    const { method, authority, path } = exchange
    const { status, flag: flags, details, attempts } = call
    const host = (call.winner ?? latest)?.host
    try {
      const answer: unknown = this.interceptor.onEnd!({
        ...{ method, authority, path, route: route.name, cluster: cluster.name, status, flags, details, attempts },
        host: host === undefined ? null : hostName(host),
        elapsedMs: now - call.startedAt,
      })
      this.finished('onEnd', answer, call, now)
    } catch (error) {
      this.failed('onEnd', error)
    }
  }

  private finished(hook: HookTrouble['hook'], answer: unknown, call: Call, since: number): void {
    if (typeof (answer as PromiseLike<unknown> | undefined)?.then === 'function') {
      // Nobody waits for it; what it rejects with must not end the process.
      ;(answer as PromiseLike<unknown>).then(undefined, () => undefined)
      throw invalid(`${hook} of ${this.interceptor.name} is asynchronous: hooks must answer at once`)
    }
    const elapsedMs = call.env.clock.now() - since
    if (elapsedMs <= SLOW_MS) return
    this.counters.slow++
    if (this.toldSlow) return
    this.toldSlow = true
    this.report({ interceptor: this.interceptor.name, hook, error: null, elapsedMs })
  }

  private failed(hook: HookTrouble['hook'], error: unknown): void {
    this.counters.errors++
    if (this.toldError) return
    this.toldError = true
    this.report({ interceptor: this.interceptor.name, hook, error, elapsedMs: 0 })
  }
}

class HookGate implements Policy {
  private readonly list: readonly Hooked[]
  constructor(list: readonly Hooked[]) {
    this.list = list
  }
  enter(call: Call, now: number): Rejection | undefined {
    for (const hooked of this.list) {
      const refusal = hooked.request(call, now)
      if (refusal !== undefined) return refusal
    }
    return undefined
  }
}

/** Whether a hook of the app sees the requests of a route first. */
export function hasGate({ policies }: Route): boolean {
  return policies[0] instanceof HookGate
}

class HookClassifier implements Classifier {
  readonly bodyBytes: number
  private readonly list: readonly Hooked[]
  constructor(list: readonly Hooked[]) {
    this.list = list
    this.bodyBytes = Math.max(...list.map(({ interceptor }) => interceptor.bodyBytes ?? 0))
  }
  classify(call: Call, response: Omit<ClassifiedResponse, 'request'>): Classified {
    const asked = { ...response, request: call.exchange }
    for (const hooked of this.list) {
      const says = hooked.classify(call, asked)
      if (says !== Classified.Not) return says
    }
    return Classified.Not
  }
}

/** What a hook sees of a request. Header edits are kept by the call, for every try of it. */
class RequestOf implements InterceptedRequest {
  private readonly call: Call
  constructor(call: Call) {
    this.call = call
  }
  get method(): string {
    return this.call.exchange.method
  }
  get authority(): string {
    return this.call.exchange.authority
  }
  get path(): string {
    return this.call.exchange.path
  }
  get route(): string {
    return this.call.route.name
  }
  get cluster(): string {
    return this.call.cluster.name
  }
  header(name: string): string | undefined {
    const lower = name.toLowerCase()
    const edited = this.call.appHeaders?.get(lower)
    return edited === undefined ? this.call.exchange.header(lower) : (edited ?? undefined)
  }
  setHeader(name: string, value: string): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be in it
    if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value))
      throw invalid(`the value of header ${name} has control characters`)
    this.edit(name, value)
  }
  removeHeader(name: string): void {
    this.edit(name, null)
  }
  private edit(name: string, value: string | null): void {
    const lower = name.toLowerCase()
    if (!/^[a-z0-9!#$%&'*+.^_`|~-]+$/.test(lower)) throw invalid(`${JSON.stringify(name)} is not the name of a header`)
    if (isTransportHeader(lower) || /^x-(inmesh|envoy|istio)-/.test(lower))
      throw invalid(`header ${lower} is not the app's to edit`)
    this.call.appHeaders ??= new Map()
    this.call.appHeaders.set(lower, value)
  }
}

/** Edits a flat list of name, value as an app's hooks have asked. */
export function editByApp(edits: ReadonlyMap<string, string | null>, headers: string[]): void {
  for (let i = headers.length - 2; i >= 0; i -= 2) if (edits.has(headers[i]!.toLowerCase())) headers.splice(i, 2)
  for (const [name, value] of edits) if (value !== null) headers.push(name, value)
}

const classifications: ReadonlyMap<Classification, Classified> = new Map([
  ['success', Classified.Success],
  ['failure', Classified.Failure],
  ['retryable', Classified.Retryable],
])

function check({ name, bodyBytes = 0 }: Interceptor): void {
  if (typeof name !== 'string' || name === '') throw invalid('an interceptor needs a name')
  if (!Number.isInteger(bodyBytes) || bodyBytes < 0 || bodyBytes > MAX_BODY_BYTES)
    throw invalid(`bodyBytes of ${name} is ${bodyBytes}: expected a whole number from 0 to ${MAX_BODY_BYTES}`)
}

function rejectionOf(respond: LocalAnswer['respond'] | undefined, name: string): Rejection {
  const { status = 0, headers = {}, body = '' } = respond ?? {}
  if (!Number.isInteger(status) || status < 200 || status > 599)
    throw invalid(`onRequest of ${name} responds with status ${status}: expected 200 to 599`)
  return new Rejection({
    ...{ status, grpcStatus: grpcStatusOf(status), flag: '-', details: `interceptor_response{${name}}` },
    ...{ body, headers: Object.entries(headers).flat(), verbatim: true },
  })
}

function broken(name: string): Rejection {
  const body = 'a policy of this process failed'
  return new Rejection({ status: 500, grpcStatus: 13, flag: '-', details: `interceptor_error{${name}}`, body })
}

function invalid(message: string): InmeshError {
  return new InmeshError('ERR_INMESH_INVALID_OPTION', message)
}
