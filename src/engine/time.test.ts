import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TICK_MS, TimerNode, TimerWheel } from './time.ts'

class Probe extends TimerNode {
  readonly fired: number[] = []
  whenFired: (() => void) | null = null
  override fire(now: number): void {
    this.fired.push(now)
    this.whenFired?.()
  }
}

describe('the timer wheel', () => {
  it('does what a list of due times would do', () => {
    const step = fc.oneof(
      fc.record({ what: fc.constant('arm' as const), node: fc.nat(9), ms: fc.integer({ min: -50, max: 30_000 }) }),
      fc.record({ what: fc.constant('disarm' as const), node: fc.nat(9), ms: fc.constant(0) }),
      fc.record({ what: fc.constant('pass' as const), node: fc.constant(0), ms: fc.integer({ min: 1, max: 15_000 }) }),
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const wheel = new TimerWheel()
        const nodes = Array.from({ length: 10 }, () => new Probe())
        const model = new Map<Probe, { due: number; armedIn: number }>()
        let now = 0
        for (const { what, node, ms } of steps) {
          const probe = nodes[node]!
          if (what === 'arm') {
            wheel.arm(probe, now + ms)
            model.set(probe, { due: now + ms, armedIn: Math.floor(now / TICK_MS) })
          } else if (what === 'disarm') {
            wheel.disarm(probe)
            model.delete(probe)
          } else {
            const end = now + ms
            while (now < end) {
              now = Math.min(end, now + TICK_MS)
              for (const n of nodes) n.fired.length = 0
              wheel.tick(now)
              const tick = Math.floor(now / TICK_MS)
              for (const n of nodes) {
                const want = model.get(n)
                // What is due fires in the first tick after it was armed that is not before its time.
                const due = want !== undefined && tick > want.armedIn && want.due <= tick * TICK_MS
                if (n.fired.length !== (due ? 1 : 0)) throw new Error(`due ${want?.due} at ${now}: ${n.fired}`)
                if (due) model.delete(n)
              }
            }
          }
          expect(wheel.size).toBe(model.size)
        }
      }),
      { numRuns: 100 },
    )
  })

  it('fires what is many turns away in its turn', () => {
    const wheel = new TimerWheel()
    const far = new Probe()
    wheel.arm(far, 35_001)
    for (let now = 10; now <= 36_000; now += 10) wheel.tick(now)
    expect(far.fired).toEqual([35_010])
  })

  it('lets what fires disarm and arm its neighbours', () => {
    const wheel = new TimerWheel()
    const [first, second, third] = [new Probe(), new Probe(), new Probe()]
    first!.whenFired = () => {
      wheel.disarm(second!)
      wheel.arm(third!, 5)
      wheel.arm(first!, 5)
    }
    wheel.arm(first!, 5)
    wheel.arm(second!, 5)
    wheel.tick(10)
    expect([first!.fired, second!.fired, third!.fired]).toEqual([[10], [], []])
    first!.whenFired = null
    wheel.tick(20)
    expect([first!.fired, second!.fired, third!.fired]).toEqual([[10, 20], [], [20]])
    expect(wheel.size).toBe(0)
  })

  it('fires nothing after a stall before the poll phase, and says that it is late', () => {
    const wheel = new TimerWheel()
    const probe = new Probe()
    let late: boolean | null = null
    probe.whenFired = () => {
      late = wheel.late
    }
    wheel.arm(probe, 100)
    expect(wheel.tick(1_000)).toBe(false)
    expect(probe.fired).toEqual([])
    expect(wheel.tick(1_000, true)).toBe(true)
    expect(probe.fired).toEqual([1_000])
    expect(late).toBe(true)
    expect(wheel.late).toBe(false)
  })

  it('never fires what is due at no time', () => {
    const wheel = new TimerWheel()
    const probe = new Probe()
    wheel.arm(probe, 10)
    wheel.arm(probe, Number.POSITIVE_INFINITY)
    expect(wheel.size).toBe(0)
  })
})
