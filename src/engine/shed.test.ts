import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { inboundDefaults, shedDefaults } from '../model/inbound.ts'
import { type Priority, priorities } from '../model/route.ts'
import { type Admitted, Inbound } from './inbound.ts'
import { InboundRuntime } from './inbound-runtime.ts'
import { Rejection, rejections } from './rejection.ts'
import { SHED_TICK_MS, Shed } from './shed.ts'
import { inboundRequest } from './testing/inbound-request.ts'

const fixed = { ...shedDefaults, initialLimit: 10, maxLimit: 1_000 }

function fill(shed: Shed, priority: Priority): number {
  let entered = 0
  while (entered < 100_000 && shed.enter(priority)) entered++
  return entered
}

describe('the limit of load', () => {
  it('does not exist until the event loop is late twice in a row', () => {
    const shed = new Shed(shedDefaults)
    expect(fill(shed, 'SHEDDABLE')).toBe(100_000)
    shed.tick(400, 0)
    shed.tick(0, 20)
    shed.tick(400, 40)
    expect(shed.limit).toBe(Number.POSITIVE_INFINITY)
    shed.tick(60, 60)
    expect(shed.limit).toBe(90_000)
  })

  it('begins at 50 at least, shrinks by a tenth with every late look, and never below 2', () => {
    const shed = new Shed(shedDefaults)
    shed.tick(51, 0)
    shed.tick(51, 20)
    expect(shed.limit).toBe(50)
    shed.tick(51, 40)
    expect(shed.limit).toBe(45)
    for (let i = 0; i < 100; i++) shed.tick(51, 60)
    expect(shed.limit).toBe(2)
  })

  it('grows by one while at least half of it is used, and goes after ten calm seconds', () => {
    const shed = new Shed(shedDefaults)
    shed.tick(51, 0)
    shed.tick(51, 20)
    for (let i = 0; i < 25; i++) shed.enter('DEFAULT')
    shed.tick(0, 40)
    expect(shed.limit).toBe(51)
    for (let i = 0; i < 25; i++) shed.leave()
    let now = 60
    for (; now < 10_060; now += SHED_TICK_MS) {
      shed.tick(0, now)
      expect(shed.limit).toBe(51)
    }
    shed.tick(0, now)
    expect(shed.limit).toBe(Number.POSITIVE_INFINITY)
  })

  it('stays when it was configured', () => {
    const shed = new Shed(fixed)
    expect(fill(shed, 'DEFAULT')).toBe(10)
    for (let i = 0; i < 10; i++) shed.leave()
    shed.tick(0, 0)
    for (let i = 0; i < 1_000; i++) shed.tick(0, i * SHED_TICK_MS)
    expect(shed.limit).toBe(11)
  })

  it('is 80 % for SHEDDABLE, 100 % for DEFAULT, 150 % for CRITICAL', () => {
    const shed = new Shed(fixed)
    expect(fill(shed, 'SHEDDABLE')).toBe(8)
    expect(fill(shed, 'DEFAULT')).toBe(2)
    expect(fill(shed, 'CRITICAL')).toBe(5)
  })

  it('in an emergency lets only CRITICAL in; one long stall is none', () => {
    const shed = new Shed({ ...fixed, initialLimit: 100 })
    shed.tick(2_000, 0)
    expect(shed.enter('SHEDDABLE')).toBe(true)
    shed.tick(600, 20)
    expect([shed.enter('DEFAULT'), shed.enter('CRITICAL')]).toEqual([false, true])
    shed.tick(400, 40)
    expect(shed.enter('DEFAULT')).toBe(true)
  })

  it('frees places in the next turn of the event loop while it limits', () => {
    const shed = new Shed(fixed)
    let turn: (() => void) | null = null
    shed.nextTurn = (work) => {
      turn = work
    }
    for (let i = 0; i < 10; i++) {
      expect(shed.enter('DEFAULT')).toBe(true)
      shed.leave()
    }
    expect(shed.enter('DEFAULT')).toBe(false)
    turn!()
    expect(shed.inFlight).toBe(0)
    expect(fill(shed, 'DEFAULT')).toBe(10)
  })

  it('keeps its bounds and counts to zero, whatever comes', () => {
    const event = fc.oneof(
      fc.record({ lag: fc.double({ min: 0, max: 2_000, noNaN: true }) }),
      fc.record({ enter: fc.constantFrom(...priorities) }),
      fc.record({ leave: fc.constant(true) }),
    )
    fc.assert(
      fc.property(fc.array(event, { maxLength: 300 }), (events) => {
        const shed = new Shed({ ...fixed, minLimit: 3, maxLimit: 12 })
        let inside = 0
        let now = 0
        for (const step of events) {
          now += SHED_TICK_MS
          if ('lag' in step) shed.tick(step.lag, now)
          else if ('leave' in step) {
            if (inside > 0) {
              inside--
              shed.leave()
            }
          } else if (shed.enter(step.enter)) inside++
          expect(shed.inFlight).toBe(inside)
          expect(shed.limit).toBeGreaterThanOrEqual(3)
          expect(shed.limit).toBeLessThanOrEqual(12)
          expect(inside).toBeLessThanOrEqual(18)
        }
      }),
    )
  })
})

describe('a server that sheds', () => {
  const server = () => {
    const spec = { ...inboundDefaults, name: '', tlsMode: 'PERMISSIVE', rbac: [], shed: fixed } as const
    return new Inbound(spec, new InboundRuntime())
  }
  it('answers 503 OM, RESOURCE_EXHAUSTED to gRPC, and does not say that it is free to be repeated', () => {
    const inbound = server()
    for (let i = 0; i < 10; i++) inbound.admit(inboundRequest())
    expect(inbound.admit(inboundRequest())).toBe(rejections.shed)
    expect(rejections.shed).toMatchObject({ status: 503, grpcStatus: 8, flag: 'OM' })
    expect(rejections.shed.headers).toEqual(['x-envoy-overloaded', 'true', 'retry-after-ms', '100'])
  })

  it('believes the class of verified callers only', () => {
    const inbound = server()
    for (let i = 0; i < 10; i++) inbound.admit(inboundRequest())
    expect(inbound.admit(inboundRequest({ priority: 'CRITICAL', peer: null }))).toBe(rejections.shed)
    expect(inbound.admit(inboundRequest({ priority: 'CRITICAL' }))).not.toBeInstanceOf(Rejection)
  })

  it('does not count answers that have begun, and counts nothing twice', () => {
    const inbound = server()
    const admitted = inbound.admit(inboundRequest()) as Admitted
    const { shed } = inbound.runtime
    expect(shed?.inFlight).toBe(1)
    admitted.streaming()
    admitted.streaming()
    expect(shed?.inFlight).toBe(0)
    admitted.done(200)
    admitted.streaming()
    admitted.done(200)
    expect(shed?.inFlight).toBe(0)
  })
})
