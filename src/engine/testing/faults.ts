import { Breaker } from '../breaker.ts'
import { createBudget } from '../budget.ts'
import { Call, Phase } from '../call.ts'
import { ClusterRuntime } from '../cluster.ts'
import { HostRuntime } from '../host.ts'
import { RequestLimit } from '../limits.ts'
import { Kind, kindFacts } from '../outcome.ts'
import { Outlier } from '../outlier.ts'
import { rejections } from '../rejection.ts'
import { TimerWheel } from '../time.ts'

type Method = (this: Record<string, unknown>, ...args: unknown[]) => unknown
type Patched = Record<string, unknown>

/** A mistake somebody might make in the engine one day. */
export interface Fault {
  readonly name: string
  /** Makes it; returns how to undo it. */
  readonly make: () => () => void
}

/** Replaces a method of everything of a class; `wrap` gets the right one. */
function wrong(name: string, owner: object, method: string, wrap: (right: Method) => Method): Fault {
  return {
    name,
    make() {
      const target = owner as Patched
      const right = target[method] as Method
      target[method] = wrap(right)
      return () => {
        target[method] = right
      }
    },
  }
}

const nothing = () => () => undefined
const windowBudget = Object.getPrototypeOf(
  createBudget({ kind: 'window', percent: 1, windowMs: 1, floorPerSecond: 1 }),
) as object
const concurrencyBudget = Object.getPrototypeOf(
  createBudget({ kind: 'concurrency', percent: 1, minConcurrency: 1 }),
) as object

/** Tells a policy of what it should not know, or otherwise than it was. */
function retold(change: (outcome: Patched) => Patched): (right: Method) => Method {
  return (right) =>
    function (call, outcome, now) {
      return right.call(this, call, Object.assign(Object.create(outcome as object), change(outcome as Patched)), now)
    }
}

const localAsReset = retold((o) => (o.kind === Kind.Local || o.kind === Kind.Cancelled ? { kind: Kind.Reset } : {}))

/** What the invariants of the simulation must notice. */
export const faults: readonly Fault[] = [
  wrong('a retry draws again instead of looking for an untried host', ClusterRuntime.prototype, 'pick', (right) => {
    return function (call, _latest, now) {
      return right.call(this, call, null, now)
    }
  }),
  wrong('ejected hosts stay among the usable ones', ClusterRuntime.prototype, 'hostEjected', nothing),
  wrong('an attempt is not counted out', ClusterRuntime.prototype, 'released', (right) => {
    let n = 0
    return function (attempt, now) {
      if (++n % 50 !== 0) right.call(this, attempt, now)
    }
  }),
  wrong('a host that flaps back is another object', ClusterRuntime.prototype, 'leave', (right) => {
    return function (host) {
      right.call(this, host)
      ;(this.known as Map<string, HostRuntime>).delete((host as HostRuntime).address)
    }
  }),
  wrong('connections of hosts that left stay', HostRuntime.prototype, 'retireLinks', nothing),
  wrong('the request limit never counts down', RequestLimit.prototype, 'leave', nothing),
  wrong('the request limit never refuses', RequestLimit.prototype, 'enter', nothing),
  wrong('an open breaker lets calls pass', Breaker.prototype, 'enter', nothing),
  wrong('the breaker learns from local refusals', Breaker.prototype, 'outcome', localAsReset),
  wrong('the breaker takes 4xx for failures', Breaker.prototype, 'outcome', (right) =>
    retold((o) => (o.kind === Kind.Response && (o.status as number) >= 400 ? { status: 500 } : {}))(right),
  ),
  wrong(
    'the breaker blames the peer for our stall',
    Breaker.prototype,
    'outcome',
    retold(() => ({ stalled: false })),
  ),
  wrong('any call decides for the probe', Breaker.prototype, 'outcome', (right) => {
    return function (call, outcome, now) {
      ;(this.probes as Set<unknown>).add(call)
      return right.call(this, call, outcome, now)
    }
  }),
  wrong('outlier detection learns from local refusals', Outlier.prototype, 'outcome', localAsReset),
  wrong('ejected hosts never come back', Outlier.prototype, 'fire', nothing),
  wrong('the budget always says yes', windowBudget, 'withdraw', () => () => true),
  wrong('the budget in flight never gets anything back', concurrencyBudget, 'release', nothing),
  wrong('a retry that is over still counts', Call.prototype, 'endRetry', nothing),
  wrong('an attempt that timed out goes on', Call.prototype, 'failed', (right) => {
    return function (attempt, kind, cause, now) {
      return right.call(this, attempt, kind, cause, now, false)
    }
  }),
  wrong('an attempt is aborted that has ended', Call.prototype, 'failed', (right) => {
    return function (attempt, kind, cause, now) {
      return right.call(this, attempt, kind, cause, now, true)
    }
  }),
  wrong('nobody asks again after the back-off', Call.prototype, 'fire', (right) => {
    return function (now) {
      return this.phase === Phase.Backoff ? (this.begin as Method).call(this, now) : right.call(this, now)
    }
  }),
  wrong('hedges ask nobody', Call.prototype, 'hedge', () => {
    return function (now) {
      ;(this.hedges as number)++
      this.retrying = true
      ;(this.cluster as ClusterRuntime).retrying++
      ;(this.begin as Method).call(this, now)
      return true
    }
  }),
  wrong('rivals of the winner go on', Call.prototype, 'dropRivals', nothing),
  wrong('who lost against a rival is blamed', Call.prototype, 'dropRivals', (right) => {
    return function (winner, now) {
      for (let a = this.latest as Patched | null; a !== null; a = a.previous as Patched | null) {
        if (a === winner || a.settled === true) continue
        a.kind = Kind.Reset
        ;(this.learn as Method).call(this, a, now)
      }
      right.call(this, winner, now)
    }
  }),
  wrong('one failure ends what goes on beside it', Call.prototype, 'failed', (right) => {
    return function (attempt, kind, cause, now, live) {
      const rivals = (this.live as number) > 1
      right.call(this, attempt, kind, cause, now, live)
      if (rivals) (this.finish as Method).call(this, rejections.reset, cause, now)
    }
  }),
  wrong('the breaker takes what was shed for failures', Breaker.prototype, 'outcome', (right) =>
    retold((o) => (o.overloaded === true ? { overloaded: false } : {}))(right),
  ),
  wrong('every head passes', Call.prototype, 'onHead', (right) => {
    return function (...args) {
      right.call(this, ...args)
      return true
    }
  }),
  wrong('the caller hears of it twice', Call.prototype, 'finish', (right) => {
    return function (rejection, cause, now, tell) {
      right.call(this, rejection, cause, now, tell)
      if (rejection !== null && tell !== false)
        (this.exchange as { reject(r: unknown, c: unknown): void }).reject(rejection, cause)
    }
  }),
  wrong('gates are not left', Call.prototype, 'finish', (right) => {
    return function (...args) {
      this.entered = 0
      right.call(this, ...args)
    }
  }),
  wrong('a stalled loop fails what has been answered', TimerWheel.prototype, 'tick', (right) => {
    return function (now) {
      return right.call(this, now, true)
    }
  }),
  wrong('timers fire late', TimerWheel.prototype, 'arm', (right) => {
    return function (node, due) {
      right.call(this, node, (due as number) + 60)
    }
  }),
  wrong('timers fire early', TimerWheel.prototype, 'arm', (right) => {
    return function (node, due) {
      right.call(this, node, (due as number) - 20)
    }
  }),
  {
    name: 'a reset is taken for never executed',
    make() {
      const facts = kindFacts[Kind.Reset] as { neverExecuted: boolean }
      facts.neverExecuted = true
      return () => {
        facts.neverExecuted = false
      }
    },
  },
]
