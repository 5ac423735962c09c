import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Placed, UnderWay } from './under-way.ts'

describe('what is under way', () => {
  it('is what was added and not deleted, whatever the order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(20)), (steps) => {
        const underWay = new UnderWay<Placed>()
        const model = new Set<Placed>()
        for (const step of steps) {
          if (step > 8 || model.size === 0) {
            const item = { place: -1 }
            underWay.add(item)
            model.add(item)
          } else {
            const item = [...model][step % model.size]!
            underWay.delete(item)
            model.delete(item)
          }
          expect(underWay.size).toBe(model.size)
          expect(new Set(underWay)).toEqual(model)
          expect(underWay.any === undefined).toBe(model.size === 0)
        }
      }),
    )
  })
})
