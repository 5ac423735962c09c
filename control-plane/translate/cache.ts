import type { Built } from './encode.ts'

interface Entry {
  inputs: string
  built: Built
  usedAt: number
}

/** Revisions after which a resource that nobody asks for is forgotten. */
const forgetAfter = 64

/**
 * Built resources across revisions. `inputs` says what a resource was built from: while it stays the same, nothing is
 * built again; if it changed but the content did not, version and bytes are those of before.
 */
export class ResourceCache {
  readonly #entries = new Map<string, Entry>()
  #generation = 0

  /** Called once per revision. */
  advance(): void {
    this.#generation++
    if (this.#generation % forgetAfter !== 0) return
    for (const [key, entry] of this.#entries)
      if (this.#generation - entry.usedAt > forgetAfter) this.#entries.delete(key)
  }

  get(key: string, inputs: string, build: () => Built): Built {
    const before = this.#entries.get(key)
    if (before?.inputs === inputs) {
      before.usedAt = this.#generation
      return before.built
    }
    const built = build()
    const same = before !== undefined && before.built.resource.version === built.resource.version
    const kept = same ? { resource: before.built.resource, references: built.references } : built
    this.#entries.set(key, { inputs, built: kept, usedAt: this.#generation })
    return kept
  }
}
