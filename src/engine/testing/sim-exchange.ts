import { Attempt } from '../attempt.ts'
import type { Call } from '../call.ts'
import type { Exchange } from '../exchange.ts'
import type { HostLink, HostRuntime } from '../host.ts'
import type { Shadow } from '../mirror.ts'
import { Kind } from '../outcome.ts'
import type { Rejection } from '../rejection.ts'
import type { RetryTree } from '../retry-tree.ts'
import type { Invariants } from './invariants.ts'
import type { Marks, Script } from './peer.ts'

/** What a simulated transport needs of its world. */
export interface SimEnv {
  readonly invariants: Invariants
  now(): number
  after(ms: number, run: () => void): void
  scriptFor(host: HostRuntime): Script
  linkOf(host: HostRuntime): HostLink
  shadow(shadow: Shadow, of: SimExchange): void
}

/** A caller's request, and the caller. Remembers everything that the engine does to it. */
export class SimExchange implements Exchange {
  readonly method: string
  readonly authority: string
  readonly path = '/'
  readonly idempotent: boolean
  callerDeadline: number
  replayable = true
  hedgeable = true
  tree: RetryTree | null = null
  call: Call | null = null
  readonly attempts: SimAttempt[] = []
  /** What its hash is made of. */
  key: string | undefined = undefined
  /** Heads that went to the caller. */
  heads = 0
  /** It has the whole answer. */
  whole = false
  cancelled = false
  /** Attempts that were started beside another. */
  hedges = 0
  /** The one that ended last. */
  lastEnded: SimAttempt | null = null
  /** When rivals of a winner were given up. */
  rivalsEndedAt = -1
  rejections = 0
  rejection: Rejection | null = null
  /** What the caller does when it hears of its rejection: another call from inside. */
  whenRejected: (() => void) | null = null
  private readonly env: SimEnv

  constructor(env: SimEnv, authority: string, idempotent: boolean, callerDeadline: number) {
    this.env = env
    this.authority = authority
    this.idempotent = idempotent
    this.callerDeadline = callerDeadline
    this.method = idempotent ? 'GET' : 'POST'
  }

  header(name: string): string | undefined {
    return name === 'x-key' ? this.key : undefined
  }

  shadow(shadow: Shadow): void {
    this.env.shadow(shadow, this)
  }

  open(call: Call, host: HostRuntime): Attempt {
    const attempt = new SimAttempt(call, host, this, this.env)
    this.env.invariants.opening(this, attempt)
    this.attempts.push(attempt)
    return attempt
  }

  reject(rejection: Rejection): void {
    this.rejections++
    this.rejection = rejection
    this.env.invariants.rejected(this)
    this.whenRejected?.()
  }

  cancel(): void {
    if (this.whole || this.rejections > 0 || this.cancelled) return
    this.cancelled = true
    this.call?.cancel(new Error('the caller left'))
  }
}

/** One try: plays a script of what the network and the peer do. */
export class SimAttempt extends Attempt {
  readonly exchange: SimExchange
  readonly openedAt: number
  /** Monotonic ms at which its head lies in the socket; Infinity = never. */
  headAt = Number.POSITIVE_INFINITY
  /** The transport reported an end, heeded or not. */
  reportedEnd = false
  /** Its transport says that the caller's own request is broken. */
  reportedCancel = false
  aborts = 0
  /** The engine said that it is over. */
  engineEnded = false
  endedAt = 0
  /** The engine let its head pass. */
  headAccepted = false
  /** It was started beside another. */
  hedge = false
  /** It draws on the budget, as we see it. */
  counted = false
  /** Seconds that its answer asks to wait. */
  retryAfter: number | undefined
  private readonly env: SimEnv
  private script: Script | null = null

  constructor(call: Call, host: HostRuntime, exchange: SimExchange, env: SimEnv) {
    super(call, host)
    this.exchange = exchange
    this.env = env
    this.openedAt = env.now()
    let blamed = false
    Object.defineProperty(this, 'blamed', {
      get: () => blamed,
      // The engine held its own time against its host, and lets it go on.
      set: (value: boolean) => {
        blamed = value
        env.invariants.blamed(this)
      },
    })
  }

  override start(): void {
    this.host.http ??= this.env.linkOf(this.host)
    const script = this.env.scriptFor(this.host)
    this.script = script
    let at = 0
    for (const step of script.steps) {
      at += step.afterMs
      if (step.what === 'head' && this.headAt === Number.POSITIVE_INFINITY) this.headAt = this.env.now() + at
      if (at === 0) this.play(step)
      else this.env.after(at, () => this.play(step))
    }
  }

  override abort(): void {
    this.aborts++
    this.env.invariants.aborted(this)
  }

  override responseHeader(name: string): string | undefined {
    return name === 'retry-after' ? this.retryAfter?.toString() : undefined
  }

  private play(step: Script['steps'][number]): void {
    // A stubborn transport reports on, though it was told to stop.
    if (this.aborts > 0 && !this.script!.stubborn) return
    switch (step.what) {
      case 'sent':
        this.sent()
        break
      case 'head':
        this.report(step.status, step.marks)
        break
      case 'end':
        this.finishBy(step.kind)
        break
    }
  }

  private report(status: number, marks: Marks): void {
    const { invariants } = this.env
    if (!this.engineEnded && !this.headAccepted) {
      this.notStarted = marks.notStarted === true
      this.rateLimited = marks.rateLimited === true
      this.overloaded = marks.overloaded === true
      this.spent = marks.spent === true
      this.retryAfter = marks.retryAfter
      invariants.outcome(this, Kind.Response, status)
    }
    const heeded = this.head(status, -1)
    invariants.reported()
    if (!heeded) return
    this.headAccepted = true
    this.exchange.heads++
    invariants.headPassed(this)
  }

  private finishBy(kind: Kind): void {
    const { invariants } = this.env
    const whole = this.headAccepted && kind === Kind.Response && !this.reportedEnd && !this.engineEnded
    if (!this.engineEnded && !(this.headAccepted && kind === Kind.Response)) invariants.outcome(this, kind, 0)
    this.reportedEnd = true
    if (kind === Kind.Cancelled && !this.engineEnded) this.reportedCancel = true
    if (whole) this.exchange.whole = true
    this.end(kind, null)
    invariants.reported()
  }
}
