import { describe, expect, it } from 'vitest'
import { Call, Phase } from './call.ts'
import { HOLD, type Policy } from './policy.ts'
import { rejections } from './rejection.ts'
import type { Route } from './route.ts'
import { Lab, LabExchange } from './testing/lab.ts'
import { endpoints } from './testing/specs.ts'

/** A gate that notes who came and went, and answers as it is told. */
class Gate implements Policy {
  entered = 0
  left = 0
  private readonly answer: (call: Call) => ReturnType<NonNullable<Policy['enter']>>
  constructor(answer: (call: Call) => ReturnType<NonNullable<Policy['enter']>>) {
    this.answer = answer
  }
  enter(call: Call) {
    this.entered++
    return this.answer(call)
  }
  leave() {
    this.left++
  }
}

function held(middle: Gate, timeoutMs = Number.POSITIVE_INFINITY) {
  const lab = Lab.of({ endpoints: endpoints(2) }, { timeoutMs })
  const first = new Gate(() => undefined)
  const last = new Gate(() => undefined)
  const exchange = new LabExchange('svc', true)
  const target = lab.engine.outbound('svc')!.match(exchange, lab.random) as Route
  exchange.call = new Call(lab.engine, exchange, { ...target, policies: [first, middle, last] })
  exchange.call.run()
  return { lab, exchange, call: exchange.call, first, middle, last }
}

describe('a gate that holds a call', () => {
  it('lets it go on at the next gate', () => {
    const { call, exchange, first, middle, last } = held(new Gate(() => HOLD))
    expect(call.phase).toBe(Phase.Asking)
    expect(exchange.attempts.length).toBe(0)
    call.resume(undefined)
    expect([first.entered, middle.entered, last.entered]).toEqual([1, 1, 1])
    exchange.latest.answer(200)
    expect([first.left, middle.left, last.left]).toEqual([1, 1, 1])
  })

  it('refuses it: those before it are left, it and those after are not', () => {
    const { call, exchange, first, middle, last } = held(new Gate(() => HOLD))
    call.resume(rejections.plaintextRefused)
    expect(exchange.rejection).toBe(rejections.plaintextRefused)
    expect([first.left, middle.left, last.entered]).toEqual([1, 0, 0])
  })

  it('may answer when nobody listens any more', () => {
    const { call, exchange, first, last } = held(new Gate(() => HOLD))
    call.cancel(null)
    expect(first.left).toBe(1)
    call.resume(undefined)
    call.resume(rejections.plaintextRefused)
    expect(last.entered).toBe(0)
    expect(exchange.attempts.length).toBe(0)
    expect(exchange.rejection).toBeNull()
  })

  it('does not hold it beyond its deadline', () => {
    const { lab, call, exchange, first } = held(new Gate(() => HOLD), 100)
    lab.advance(120)
    expect(exchange.rejection).toBe(rejections.timeout)
    expect(first.left).toBe(1)
    call.resume(undefined)
    expect(exchange.attempts.length).toBe(0)
    expect(lab.engine.wheel.size).toBe(0)
  })

  it('answers once: what comes later is nothing to a call that tries', () => {
    const { call, exchange } = held(new Gate(() => HOLD))
    call.resume(undefined)
    call.resume(rejections.plaintextRefused)
    expect(exchange.rejection).toBeNull()
    expect(exchange.attempts.length).toBe(1)
  })
})

describe('a gate that delays a call', () => {
  const delaying = () =>
    new Gate((call) => {
      call.holdMs = 200
      return undefined
    })

  it('lets the gates after it decide at once, and the first try wait', () => {
    const { lab, exchange, last } = held(delaying())
    expect(last.entered).toBe(1)
    lab.advance(190)
    expect(exchange.attempts.length).toBe(0)
    lab.advance(20)
    expect(exchange.attempts.length).toBe(1)
  })

  it('does not delay it beyond its deadline', () => {
    const { lab, exchange } = held(delaying(), 100)
    lab.advance(300)
    expect(exchange.rejection).toBe(rejections.timeout)
    expect(exchange.attempts.length).toBe(0)
  })

  it('lets the caller leave meanwhile', () => {
    const { lab, call, exchange, first, last } = held(delaying())
    call.cancel(null)
    lab.advance(300)
    expect(exchange.attempts.length).toBe(0)
    expect([first.left, last.left]).toEqual([1, 1])
    expect(lab.engine.wheel.size).toBe(0)
  })

  it('finds the body gone: it cannot be sent any more', () => {
    const { lab, exchange } = held(delaying())
    exchange.replayable = false
    lab.advance(300)
    expect(exchange.rejection).toBe(rejections.retryLost)
  })
})
