import { describe, expect, it } from 'vitest'
import type { ClusterSpec } from '../model/cluster.ts'
import type { RouteSpec } from '../model/route.ts'
import { Phase } from './call.ts'
import { Kind } from './outcome.ts'
import { rejections } from './rejection.ts'
import { Lab, LabExchange } from './testing/lab.ts'
import { breakerSpec, clusterSpec, endpoints, retrySpec, routeSpec } from './testing/specs.ts'

/** A request as a transport of gRPC shows it. */
class RpcExchange extends LabExchange {
  readonly protocol = 'grpc'
  patient = false
  lateHead = true
}

function rpc(
  cluster: Partial<ClusterSpec>,
  route: Partial<RouteSpec> = {},
  how: Partial<Pick<RpcExchange, 'patient' | 'callerDeadline'>> = {},
) {
  const lab = Lab.of(cluster, route)
  const exchange = Object.assign(new RpcExchange('svc', true), how)
  lab.run(exchange)
  return { lab, exchange, call: exchange.call }
}

describe('a patient call', () => {
  it('waits for a host rather than fail, and is no retry', () => {
    const { lab, exchange, call } = rpc({ endpoints: [] }, {}, { patient: true, callerDeadline: 60_000 })
    expect(call.phase).toBe(Phase.Backoff)
    lab.advance(5_000)
    expect(exchange.attempts).toHaveLength(0)
    lab.apply([clusterSpec('c', { endpoints: endpoints(1) })], [routeSpec('c')])
    lab.advance(2_000)
    expect(exchange.attempts).toHaveLength(1)
    expect(lab.cluster.retrying).toBe(0)
    exchange.latest.answer(200, {}, 0)
    expect(exchange.rejection).toBeNull()
  })

  it('waits for connections; nothing is held in between', () => {
    const { lab, exchange, call } = rpc({ endpoints: endpoints(1) }, {}, { patient: true })
    for (let i = 1; i < 5; i++) {
      exchange.latest.end(Kind.ConnectFailure, null)
      expect(lab.cluster.active).toBe(0)
      lab.advance(3_000)
      expect(exchange.attempts).toHaveLength(i + 1)
    }
    call.cancel(null)
    expect(lab.cluster.active).toBe(0)
    expect(lab.engine.wheel.size).toBe(0)
  })

  it('has its deadline all the same, and others fail at once', () => {
    const { lab, exchange } = rpc({ endpoints: [] }, {}, { patient: true, callerDeadline: 1_500 })
    lab.advance(600)
    expect(exchange.rejection).toBe(rejections.timeout)
    expect(rpc({ endpoints: [] }).exchange.rejection).toBe(rejections.noHealthyHost)
    const broken = rpc({ endpoints: endpoints(1) }, {}, { patient: true })
    broken.exchange.latest.end(Kind.Reset, null)
    expect(broken.exchange.rejection?.flag).toBe('UC')
  })
})

describe('answers with a status of gRPC', () => {
  const retry = retrySpec({ retryOn: ['unavailable', 'internal'], statusCodes: [503, 500], numRetries: 1 })

  it.each([
    ['a code that the policy names', 503, 14, true],
    ['another code, whatever HTTP status it stands for', 503, 8, false],
    ['a status of HTTP without a code', 503, -1, true],
    ['a status of HTTP that stands for a code which the policy names', 504, -1, true],
  ])('%s', (_name, status, code, retried) => {
    const { lab, exchange } = rpc({}, { retry })
    exchange.latest.answer(status, {}, code)
    lab.advance(1_000)
    expect(exchange.attempts).toHaveLength(retried ? 2 : 1)
  })

  it('failures without an answer are what they are to callers of gRPC', () => {
    const names: [Kind, boolean][] = [
      [Kind.Reset, true],
      [Kind.ConnectFailure, true],
      [Kind.TryTimeout, false],
      [Kind.Local, false],
    ]
    for (const [kind, retried] of names) {
      const { lab, exchange } = rpc({}, { retry: retrySpec({ retryOn: ['unavailable'], statusCodes: [] }) })
      exchange.latest.sent()
      exchange.latest.end(kind, null)
      lab.advance(1_000)
      expect(exchange.attempts).toHaveLength(retried ? 2 : 1)
    }
  })

  it('a peer says when to try again, to the millisecond, or never', () => {
    for (const [ms, retried] of [
      [300, true],
      [Number.POSITIVE_INFINITY, false],
    ] as const) {
      const { lab, exchange } = rpc({}, { retry })
      exchange.latest.pushbackMs = ms
      exchange.latest.answer(503, {}, 14)
      lab.advance(290)
      expect(exchange.attempts).toHaveLength(1)
      lab.advance(30)
      expect(exchange.attempts).toHaveLength(retried ? 2 : 1)
    }
  })

  it('what the end of an answer says counts in place of its head, once', () => {
    const breaker = breakerSpec({ minimumRequests: 2, thresholdPercent: 50 })
    const { lab, exchange } = rpc({ breaker })
    const answers = [exchange, lab.exchange(), lab.exchange()]
    for (const each of answers) {
      if (each !== exchange) lab.run(each)
      if (each.rejection !== null) break
      each.latest.sent()
      expect(each.latest.head(200, 0)).toBe(true)
      each.latest.restate(503, 14)
      each.latest.end(Kind.Response, null)
      expect(each.call.status).toBe(503)
    }
    expect(lab.cluster.breaker?.state).toBe('open')
    expect(answers[2]!.rejection).toBe(rejections.breakerOpen)
  })

  it('a time until the head is not for answers whose head comes late', () => {
    const { lab, exchange, call } = rpc({}, { timeoutMs: 100, timeoutUntilHeaders: true })
    expect(call.deadline).toBe(Number.POSITIVE_INFINITY)
    expect(exchange.latest.completeMs(lab.time)).toBe(Number.POSITIVE_INFINITY)
    const whole = rpc({}, { timeoutMs: 100, timeoutUntilHeaders: false })
    expect(whole.exchange.latest.completeMs(whole.lab.time)).toBe(100)
  })
})
