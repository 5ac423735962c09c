import type { ObjectInput, StoredObject } from './store.ts'

/**
 * What a store would hold once `inputs` are applied over `before`: a change keeps its age, and what is new is younger than
 * all, in the order of `inputs`.
 */
export function mergeObjects(
  before: readonly StoredObject[],
  inputs: readonly ObjectInput[],
  updatedBy: string,
): StoredObject[] {
  const old = new Map(before.map((object) => [keyOf(object), object]))
  const named = new Set(inputs.map(keyOf))
  let at = 0
  let revision = 0
  for (const object of before) {
    at = Math.max(at, object.createdAt)
    revision = Math.max(revision, object.revision)
  }
  return [
    ...before.filter((object) => !named.has(keyOf(object))),
    ...inputs.map((input, i) => {
      const same = old.get(keyOf(input))
      if (same !== undefined) return { ...same, ...input, generation: same.generation + 1 }
      const born = { createdAt: at + i + 1, updatedAt: at + i + 1, revision: revision + i + 1 }
      return { ...input, uid: keyOf(input), generation: 1, ...born, updatedBy }
    }),
  ]
}

function keyOf({ kind, namespace, name }: ObjectInput): string {
  return `${kind}/${namespace}/${name}`
}
