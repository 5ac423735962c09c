import { describe, expect, it } from 'vitest'
import { World } from './testing/world.ts'

/** INMESH_SEED=n plays one world again. */
const only = process.env.INMESH_SEED
const first = only === undefined ? 1 : Number(only)
const worlds = only === undefined ? Number(process.env.INMESH_WORLDS ?? 2_000) : 1

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
  })
})
