import { describe, expect, it } from 'vitest'
import { faults } from './testing/faults.ts'
import { Violation } from './testing/shadow.ts'
import { World } from './testing/world.ts'

/** INMESH_SEED=n plays one world again, INMESH_WORLDS=n that many. */
const only = process.env.INMESH_SEED
const first = only === undefined ? 1 : Number(only)
const worlds = only === undefined ? Number(process.env.INMESH_WORLDS ?? 3_000) : 1

describe('the engine, simulated', () => {
  it('keeps its promises in every world', () => {
    let calls = 0
    let attempts = 0
    for (let seed = first; seed < first + worlds; seed++) {
      const world = new World(seed)
      try {
        world.run()
      } catch (cause) {
        throw new Error(`seed ${seed} (INMESH_SEED=${seed} plays it again): ${(cause as Error).message}`, { cause })
      }
      calls += world.invariants.calls
      attempts += world.invariants.attempts
    }
    // Worlds in which nothing happens would keep any promise.
    expect(calls).toBeGreaterThan(worlds * 10)
    expect(attempts).toBeGreaterThan(calls / 2)
  }, 120_000)
})

describe('the simulation notices when', () => {
  it.each(faults)('$name', ({ make }) => {
    const undo = make()
    try {
      expect(firstViolation(1_500)).toBeInstanceOf(Violation)
    } finally {
      undo()
    }
  })
})

function firstViolation(seeds: number): unknown {
  for (let seed = 1; seed <= seeds; seed++) {
    try {
      new World(seed).run()
    } catch (error) {
      return error
    }
  }
  return undefined
}
