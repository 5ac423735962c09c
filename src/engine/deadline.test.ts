import { describe, expect, it } from 'vitest'
import { inboundDefaults } from '../model/inbound.ts'
import { parseGrpcTimeout, waitOf } from './deadline.ts'
import { Inbound } from './inbound.ts'
import { InboundRuntime } from './inbound-runtime.ts'
import { systemRandom } from './random.ts'
import { rejections } from './rejection.ts'
import { inboundRequest } from './testing/inbound-request.ts'
import { Lab } from './testing/lab.ts'
import { endpoints } from './testing/specs.ts'
import { TimerWheel } from './time.ts'

const Never = Number.POSITIVE_INFINITY

describe('grpc-timeout', () => {
  it.each([
    ['1H', 3_600_000],
    ['2M', 120_000],
    ['5S', 5_000],
    ['100m', 100],
    ['1500u', 1.5],
    ['99999999n', 99.999999],
    ['0m', 0],
    ['100', Never],
    ['123456789m', Never],
    ['-1S', Never],
    ['5s', Never],
    ['', Never],
  ])('%s', (text, ms) => {
    expect(parseGrpcTimeout(text)).toBeCloseTo(ms)
  })

  it('counts beside x-envoy-expected-rq-timeout-ms: the shorter one', () => {
    expect(waitOf('250', undefined)).toBe(250)
    expect(waitOf('250', '100m')).toBe(100)
    expect(waitOf('250', '1S')).toBe(250)
    expect(waitOf('x', ['1S', '2S'])).toBe(Never)
    expect(waitOf(undefined, '1S')).toBe(1_000)
  })
})

describe('a request that nobody waits for any more', () => {
  it('is refused before its path, policy or app is looked at', () => {
    const runtime = new InboundRuntime({ clock: { now: () => 500 }, random: systemRandom, wheel: new TimerWheel() })
    const inbound = new Inbound({ ...inboundDefaults, name: 'x', tlsMode: 'PERMISSIVE', rbac: [] }, runtime)
    const request = (deadline: number) => inboundRequest({ path: '/%2', deadline })
    expect(inbound.admit(request(500))).toBe(rejections.expired)
    expect(inbound.admit(request(501))).not.toBe(rejections.expired)
    expect(rejections.expired).toMatchObject({
      status: 504,
      grpcStatus: 4,
      flag: 'DT',
      details: 'request_overall_timeout',
    })
  })

  it('makes no calls: they are answered 504 DT without a try', () => {
    const lab = Lab.of({ endpoints: endpoints(2) }, { timeoutMs: 1_000 })
    const late = lab.call(true, {}, lab.time)
    expect(late.attempts.length).toBe(0)
    expect(late.rejection).toBe(rejections.expired)
    const short = lab.call(true, {}, lab.time + 100)
    lab.advance(120)
    expect(short.rejection).toBe(rejections.timeout)
  })
})

describe('how long a try is waited for', () => {
  it('is the least of what is left of the call and the limit of the try', () => {
    const lab = Lab.of({ endpoints: endpoints(2) }, { timeoutMs: 1_000 })
    const plain = lab.call()
    expect(plain.latest.remainingMs(lab.time)).toBe(1_000)
    lab.advance(300)
    expect(plain.latest.remainingMs(lab.time)).toBe(700)
    const bounded = lab.call(true, {}, lab.time + 200)
    expect(bounded.latest.remainingMs(lab.time)).toBe(200)
    bounded.call.limits = { ...bounded.call.limits, tryTimeoutMs: 50 }
    expect(bounded.latest.remainingMs(lab.time)).toBe(50)
  })
})
