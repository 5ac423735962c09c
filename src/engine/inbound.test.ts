import { describe, expect, it } from 'vitest'
import { type InboundSpec, inboundDefaults, type RateLimitSpec, shedDefaults } from '../model/inbound.ts'
import type { FaultSpec } from '../model/route.ts'
import { type Admitted, Inbound } from './inbound.ts'
import { InboundRuntime } from './inbound-runtime.ts'
import { Rejection } from './rejection.ts'
import { Dice } from './testing/dice.ts'
import { inboundRequest, peerOf } from './testing/inbound-request.ts'
import { TimerWheel } from './time.ts'

const off = { ...shedDefaults, enabled: false }

function server(spec: Partial<InboundSpec> = {}) {
  const dice = new Dice(1, 0)
  const wheel = new TimerWheel()
  let time = 1_000
  const runtime = new InboundRuntime({ clock: { now: () => time }, random: dice.random, wheel })
  const make = (more: Partial<InboundSpec>) =>
    new Inbound({ ...inboundDefaults, name: 'test', tlsMode: 'PERMISSIVE', rbac: [], shed: off, ...more }, runtime)
  wheel.skipTo(time)
  let inbound = make(spec)
  const admit = (over: Parameters<typeof inboundRequest>[0] = {}) => {
    const request = inboundRequest(over)
    return { request, verdict: inbound.admit(request) }
  }
  return {
    runtime,
    admit,
    update: (more: Partial<InboundSpec>) => {
      inbound = make(more)
    },
    advance(ms: number) {
      time += ms
      if (!wheel.tick(time)) wheel.tick(time, true)
    },
    details: (over?: Parameters<typeof inboundRequest>[0]) => {
      const { verdict } = admit(over)
      return verdict instanceof Rejection ? verdict.details : 'admitted'
    },
  }
}

const limit = (over: Partial<RateLimitSpec> = {}): RateLimitSpec => ({
  name: 'a',
  match: [],
  key: { kind: 'all' },
  bucket: { maxTokens: 2, tokensPerFill: 1, fillIntervalMs: 1_000 },
  overrides: [],
  status: 429,
  grpcStatus: 8,
  answerHeaders: [],
  headers: true,
  global: false,
  ...over,
})
const matching = { path: null, methods: [], headers: [], principals: [] }

describe('the way in', () => {
  it('goes in one order', () => {
    const { runtime } = server()
    const inbound = new Inbound(
      {
        ...inboundDefaults,
        name: 'test',
        tlsMode: 'STRICT',
        rbac: [{ filterName: '', action: 'DENY', policies: [] }],
        rateLimits: [limit()],
        faults: [{ match: [], fault: { delay: null, abort: null, headers: [], maxActive: 1 } }],
        maxRequests: 1,
      },
      runtime,
    )
    expect(inbound.steps.map((step) => step.name)).toEqual([
      'identity',
      'deadline',
      'path',
      'shed',
      'request-limit',
      'authorize',
      'fault',
      'rate-limit',
    ])
  })

  it('has one answer for all when nothing counts', () => {
    const { admit } = server()
    expect(admit().verdict).toBe(admit().verdict)
  })

  it.each([
    ['NONE', '/a/./b//c%2fd?q', '/a/./b//c%2fd?q'],
    ['BASE', '/a/./b//c%2fd?q', '/a/b//c%2fd?q'],
    ['MERGE_SLASHES', '/a/./b//c%2fd?q', '/a/b/c%2fd?q'],
    ['DECODE_AND_MERGE_SLASHES', '/a/./b//c%2fd?q', '/a/b/c/d?q'],
  ] as const)('hands on paths as %s says', (pathNormalization, path, shown) => {
    expect(server({ pathNormalization }).admit({ path }).request.path).toBe(shown)
  })

  it.each(['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const)(
    'lets no spelling of a denied path pass under %s',
    (pathNormalization) => {
      const match = { kind: 'exact', value: '/admin', ignoreCase: false } as const
      const policies = [{ name: 'p', permissions: [{ kind: 'path', match }], principals: [{ kind: 'any' }] }] as const
      const { admit } = server({ pathNormalization, rbac: [{ filterName: '', action: 'DENY', policies }] })
      for (const path of ['/admin', '//admin', '/x/../admin', '/%61dmin', '/x%2f..%2fadmin', '/x\\..\\admin'])
        expect(admit({ path }).verdict).toBeInstanceOf(Rejection)
      expect(admit({ path: '/other' }).verdict).not.toBeInstanceOf(Rejection)
    },
  )
})

describe('a rate limit', () => {
  it('refuses with 429 RL when the bucket is empty, and says when to come back', () => {
    const { admit, advance } = server({ rateLimits: [limit()] })
    const first = admit()
    expect(first.verdict).not.toBeInstanceOf(Rejection)
    expect(first.request.answerHeaders).toEqual({
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': '1',
      'x-ratelimit-reset': '1',
    })
    admit()
    advance(100)
    const third = admit()
    expect(third.verdict).toMatchObject({
      status: 429,
      grpcStatus: 8,
      flag: 'RL',
      details: 'local_rate_limited',
      headers: ['x-envoy-ratelimited', 'true'],
    })
    expect(third.request.answerHeaders).toEqual({
      'retry-after': '1',
      'x-ratelimit-limit': '2',
      'x-ratelimit-remaining': '0',
      'x-ratelimit-reset': '2',
    })
    advance(900)
    expect(admit().verdict).not.toBeInstanceOf(Rejection)
  })

  it('has a bucket for each caller, a common one for plaintext, and other sizes for some', () => {
    const cron = peerOf('cron')
    const { details } = server({
      rateLimits: [
        limit({
          key: { kind: 'identity' },
          overrides: [{ value: cron.spiffeId, bucket: { maxTokens: 1, tokensPerFill: 1, fillIntervalMs: 1_000 } }],
        }),
      ],
    })
    const of = (peer: Parameters<typeof details>[0]) => [details(peer), details(peer), details(peer)]
    expect(of({})).toEqual(['admitted', 'admitted', 'local_rate_limited'])
    expect(of({ peer: peerOf('web') })).toEqual(['admitted', 'admitted', 'local_rate_limited'])
    expect(of({ peer: cron })).toEqual(['admitted', 'local_rate_limited', 'local_rate_limited'])
    expect(of({ peer: null })).toEqual(['admitted', 'admitted', 'local_rate_limited'])
    expect(details({ peer: null, remoteAddress: '10.0.0.77' })).toBe('local_rate_limited')
  })

  it('has a bucket for each value of a header; requests without share one', () => {
    const { details } = server({ rateLimits: [limit({ key: { kind: 'header', name: 'x-user' } })] })
    const users: Record<string, string>[] = [{ 'x-user': 'ann' }, { 'x-user': 'bob' }, {}]
    for (const headers of users)
      expect([details({ headers }), details({ headers }), details({ headers })]).toEqual([
        'admitted',
        'admitted',
        'local_rate_limited',
      ])
  })

  it('is about what it matches, in whatever spelling', () => {
    const path = { kind: 'exact', value: '/login', ignoreCase: false } as const
    const { details } = server({ rateLimits: [limit({ match: [{ ...matching, path, methods: ['POST'] }] })] })
    const post = (path: string) => details({ method: 'POST', path })
    expect([post('/login'), post('//login'), post('/%6cogin?x'), post('/x/../login')]).toEqual([
      'admitted',
      'admitted',
      'local_rate_limited',
      'local_rate_limited',
    ])
    expect(details({ path: '/login' })).toBe('admitted')
    expect(post('/logout')).toBe('admitted')
  })

  it('takes nothing from the others when one refuses', () => {
    const small = { maxTokens: 1, tokensPerFill: 1, fillIntervalMs: 60_000 }
    const path = { kind: 'exact', value: '/x', ignoreCase: false } as const
    const { details } = server({
      rateLimits: [limit(), limit({ name: 'b', bucket: small, match: [{ ...matching, path }] })],
    })
    expect(details({ path: '/x' })).toBe('admitted')
    for (let i = 0; i < 5; i++) expect(details({ path: '/x' })).toBe('local_rate_limited')
    expect(details({ path: '/y' })).toBe('admitted')
    expect(details({ path: '/y' })).toBe('local_rate_limited')
  })

  it('keeps what was taken when the configuration changes around it, and when its share changes', () => {
    const { details, update } = server({ rateLimits: [limit()] })
    expect([details(), details(), details()]).toEqual(['admitted', 'admitted', 'local_rate_limited'])
    update({ rateLimits: [limit()], maxRequests: 5 })
    expect(details()).toBe('local_rate_limited')
    update({
      rateLimits: [limit({ global: true, bucket: { maxTokens: 20, tokensPerFill: 10, fillIntervalMs: 1_000 } })],
    })
    expect(details()).toBe('local_rate_limited')
    update({ rateLimits: [limit({ key: { kind: 'identity' } })] })
    expect(details()).toBe('admitted')
  })
})

describe('a limit of requests', () => {
  it('lets so many in at one time, counts each once, and over new configurations', () => {
    const { admit, details, update, runtime } = server({ maxRequests: 2 })
    const first = admit().verdict as Admitted
    admit()
    expect(details()).toBe('max_requests_exceeded')
    update({ maxRequests: 2, tlsMode: 'DISABLE' })
    expect(details()).toBe('max_requests_exceeded')
    first.done(200)
    first.done(200)
    expect(runtime.requests).toBe(1)
    expect([details(), details()]).toEqual(['admitted', 'max_requests_exceeded'])
  })

  it('counts nothing that a later step refuses', () => {
    const { details, runtime } = server({ maxRequests: 9, rateLimits: [limit()] })
    for (let i = 0; i < 5; i++) details()
    expect(runtime.requests).toBe(2)
  })
})

describe('a fault for callers', () => {
  const fault = (over: Partial<FaultSpec>): FaultSpec => ({
    delay: null,
    abort: null,
    headers: [],
    maxActive: Number.POSITIVE_INFINITY,
    ...over,
  })
  const all = 1_000_000
  const abort = { perMillion: all, how: { kind: 'http', status: 418 } } as const

  it('aborts, with flag FI', () => {
    const { admit } = server({ faults: [{ match: [], fault: fault({ abort }) }] })
    expect(admit().verdict).toMatchObject({ status: 418, flag: 'FI', details: 'fault_filter_abort' })
  })

  it('delays, then lets pass, and what comes after it is asked then', () => {
    const delay = { ms: 100, perMillion: all }
    const { admit, advance } = server({ faults: [{ match: [], fault: fault({ delay }) }], rateLimits: [limit()] })
    const three = [admit(), admit(), admit()]
    for (const { verdict } of three) expect(verdict).toHaveProperty('cancel')
    advance(90)
    expect(three.map(({ request }) => request.resumed.length)).toEqual([0, 0, 0])
    advance(20)
    const [one, two, last] = three.map(({ request }) => request.resumed[0])
    expect(one).toHaveProperty('done')
    expect(two).toHaveProperty('done')
    expect(last).toMatchObject({ flag: 'RL' })
  })

  it('delays before it aborts: DI and FI', () => {
    const { admit, advance } = server({
      faults: [{ match: [], fault: fault({ delay: { ms: 50, perMillion: all }, abort }) }],
    })
    const { request } = admit()
    advance(60)
    expect(request.resumed).toMatchObject([{ status: 418, flag: 'DI,FI' }])
  })

  it('gives everything back when the caller goes away during the delay', () => {
    const delay = { ms: 100, perMillion: all }
    const { admit, advance, runtime } = server({ faults: [{ match: [], fault: fault({ delay }) }], maxRequests: 5 })
    const { verdict, request } = admit()
    expect([runtime.requests, runtime.faults]).toEqual([1, 1])
    ;(verdict as { cancel(): void }).cancel()
    ;(verdict as { cancel(): void }).cancel()
    expect([runtime.requests, runtime.faults]).toEqual([0, 0])
    advance(200)
    expect(request.resumed).toEqual([])
  })

  it('is the first rule that matches, by caller too, and no more at one time than allowed', () => {
    const principals = [{ kind: 'exact', value: peerOf('web').spiffeId, ignoreCase: false }] as const
    const { admit } = server({
      faults: [
        { match: [{ ...matching, principals }], fault: fault({}) },
        { match: [], fault: fault({ delay: { ms: 1_000, perMillion: all }, maxActive: 1 }) },
      ],
    })
    expect(admit({ peer: peerOf('web') }).verdict).toHaveProperty('done')
    expect(admit().verdict).toHaveProperty('cancel')
    expect(admit().verdict).toHaveProperty('done')
  })
})
