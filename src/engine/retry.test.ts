import { describe, expect, it } from 'vitest'
import { type RetryOn, retryOnWords } from '../model/route.ts'
import { Kind, kindFacts } from './outcome.ts'
import { Lab, type LabExchange } from './testing/lab.ts'
import { asksForRetry, provenUnrun } from './testing/oracle.ts'
import { clusterSpec, endpoints, retrySpec, routeSpec } from './testing/specs.ts'

const kinds = [
  Kind.ConnectFailure,
  Kind.Refused,
  Kind.Reset,
  Kind.TryTimeout,
  Kind.ProtocolError,
  Kind.Local,
  Kind.Cancelled,
]
const statuses = [200, 400, 404, 408, 409, 429, 499, 500, 501, 502, 503, 504, 505, 599]

function fail(exchange: LabExchange, kind: Kind, sent: boolean): void {
  if (sent) exchange.latest.sent()
  exchange.latest.end(kind, null)
}

describe.each(retryOnWords.map((word) => ({ word })))('retry_on $word', ({ word }) => {
  const lab = Lab.of({ endpoints: endpoints(1) }, { retry: retrySpec({ retryOn: [word], statusCodes: [] }) })

  it.each(kinds.flatMap((kind) => [true, false].map((sent) => ({ kind, name: kindFacts[kind]!.name, sent }))))(
    'and $name, sent $sent',
    ({ kind, sent }) => {
      for (const idempotent of [true, false]) {
        const exchange = lab.call(idempotent)
        fail(exchange, kind, sent)
        lab.advance(300)
        const ended = { kind, status: 0, wasSent: sent, notStarted: false, rateLimited: false }
        const wanted = asksForRetry(retrySpec({ retryOn: [word], statusCodes: [] }), ended)
        expect(exchange.attempts.length).toBe(wanted && (idempotent || provenUnrun(ended)) ? 2 : 1)
        exchange.call.cancel(null)
        lab.advance(12_000)
      }
    },
  )

  it.each(statuses)('and status %i', (status) => {
    const matches: Partial<Record<RetryOn, boolean>> = {
      '5xx': status >= 500,
      'gateway-error': status >= 502 && status <= 504,
      'retriable-4xx': status === 409,
    }
    for (const idempotent of [true, false]) {
      const exchange = lab.call(idempotent)
      exchange.latest.answer(status)
      lab.advance(300)
      expect(exchange.attempts.length).toBe(idempotent && matches[word] === true ? 2 : 1)
      exchange.call.cancel(null)
      lab.advance(12_000)
    }
  })
})

describe('a retry', () => {
  const one = (over = {}) => Lab.of({ endpoints: endpoints(1) }, { retry: retrySpec(over) })

  it('repeats by status numbers without a word for it', () => {
    const exchange = one({ retryOn: [], statusCodes: [418] })
    const call = exchange.call()
    call.latest.answer(418)
    exchange.advance(300)
    expect(call.attempts.length).toBe(2)
  })

  it('leaves what is rate limited alone unless told otherwise', () => {
    for (const [retryOn, attempts] of [
      [['5xx'], 1],
      [['5xx', 'envoy-ratelimited'], 2],
    ] as const) {
      const lab = one({ retryOn, statusCodes: [] })
      const call = lab.call()
      call.latest.rateLimited = true
      call.latest.answer(503)
      lab.advance(300)
      expect(call.attempts.length).toBe(attempts)
    }
  })

  it('repeats a POST that its server did not begin, and one that may be repeated by policy', () => {
    const lab = one({ retryOn: [] })
    const call = lab.call(false)
    call.latest.notStarted = true
    call.latest.answer(503)
    lab.advance(300)
    expect(call.attempts.length).toBe(2)

    const reckless = one({ retryOn: ['5xx'], retryNonIdempotent: true })
    const post = reckless.call(false)
    post.latest.answer(503)
    reckless.advance(300)
    expect(post.attempts.length).toBe(2)
  })

  it('goes to each other host at once and for free while nobody acts on it', () => {
    const lab = Lab.of(
      { endpoints: endpoints(4), retryBudget: { kind: 'window', percent: 0, windowMs: 10_000, floorPerSecond: 0 } },
      { retry: retrySpec({ retryOn: ['connect-failure'], numRetries: 5 }) },
    )
    const call = lab.call(false)
    for (let i = 0; i < 3; i++) call.latest.end(Kind.ConnectFailure, null)
    expect(new Set(call.attempts.map((a) => a.host)).size).toBe(4)
    // All are tried: now it costs time and budget.
    call.latest.end(Kind.ConnectFailure, null)
    expect(call.attempts.length).toBe(4)
    lab.advance(500)
    expect(call.attempts.length).toBe(5)
    call.latest.end(Kind.ConnectFailure, null)
    expect(call.rejection?.flag).toBe('UF,UO')
  })

  it('stops at the number of retries', () => {
    const lab = one({ numRetries: 2 })
    lab.answers(50, 200)
    const call = lab.call()
    for (let i = 0; i < 3; i++) {
      call.latest.answer(503)
      lab.advance(300)
    }
    expect(call.attempts.length).toBe(3)
    expect(call.call.status).toBe(503)
    expect(call.call.flag).toBe('URX')
  })

  it('backs off within [0, (2^n - 1) * base), at most max, before the deadline', () => {
    const longest = [0, 0, 0, 0, 0]
    for (let round = 0; round < 300; round++) {
      const lab = one({ numRetries: 5, baseIntervalMs: 100, maxIntervalMs: 1_000 })
      lab.apply(
        [{ ...clusterSpec('c', { endpoints: endpoints(1) }) }],
        [routeSpec('c', { retry: retrySpec({ numRetries: 5, baseIntervalMs: 100, maxIntervalMs: 1_000 }) })],
      )
      for (let i = 0; i < round; i++) lab.random.u32()
      lab.answers(100, 200)
      const call = lab.call()
      for (let n = 0; n < 5; n++) {
        const at = lab.time
        call.latest.answer(503)
        while (call.attempts.length === n + 1) lab.advance(10)
        longest[n] = Math.max(longest[n]!, lab.time - at)
      }
    }
    const bounds = [100, 300, 700, 1_000, 1_000]
    longest.forEach((ms, n) => {
      expect(ms).toBeLessThanOrEqual(bounds[n]! + 10)
      expect(ms).toBeGreaterThan(bounds[n]! * 0.9)
    })
  })

  it('is not begun when its back-off would end after the deadline', () => {
    const lab = Lab.of(
      { endpoints: endpoints(1) },
      { timeoutMs: 50, retry: retrySpec({ baseIntervalMs: 1_000_000, maxIntervalMs: 1_000_000 }) },
    )
    const call = lab.call()
    call.latest.answer(503)
    expect(call.call.status).toBe(503)
    expect(call.call.phase).toBe(4)
  })

  it('is given up when the body is gone after the back-off, and gives its budget back', () => {
    const lab = Lab.of(
      { endpoints: endpoints(1), retryBudget: { kind: 'concurrency', percent: 0, minConcurrency: 1 } },
      { retry: retrySpec() },
    )
    for (let i = 0; i < 3; i++) {
      const call = lab.call()
      call.latest.answer(503)
      expect(lab.cluster.retrying).toBe(1)
      if (i === 1) call.call.cancel(null)
      else call.replayable = false
      lab.advance(300)
      expect(call.attempts.length).toBe(1)
      expect(lab.cluster.retrying).toBe(0)
    }
  })

  it('never exceeds the limit on retries', () => {
    const limits = { ...clusterSpec('c').limits, maxRetries: 1 }
    const lab = Lab.of({ endpoints: endpoints(1), limits }, { retry: retrySpec() })
    const first = lab.call()
    const second = lab.call()
    first.latest.answer(503)
    second.latest.answer(503)
    expect(first.call.phase).toBe(2)
    expect(second.call.status).toBe(503)
  })
})
