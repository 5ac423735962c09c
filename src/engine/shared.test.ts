import { expect, it } from 'vitest'
import { shared, sharedList } from './shared.ts'

it('compiles specs of equal content once', () => {
  let compiled = 0
  const compile = shared((spec: { a: number; b?: readonly string[] | null | undefined }) => {
    compiled++
    return { ...spec }
  })
  expect(compile({ a: 1, b: ['x'] })).toBe(compile({ a: 1, b: ['x'] }))
  expect(compiled).toBe(1)
})

it('tells Infinity, null and absent from each other', () => {
  const compile = shared((spec: { a?: number | string | null | undefined }) => ({ said: spec.a }))
  const specs = [{ a: Number.POSITIVE_INFINITY }, { a: null }, {}, { a: 'Infinity' }, { a: 'null' }]
  expect(new Set(specs.map(compile)).size).toBe(specs.length)
  for (const spec of specs) expect(compile(spec).said).toBe(spec.a)
})

it('forgets when it has seen very many', () => {
  const compile = shared((spec: { n: number }) => ({ n: spec.n }))
  const first = compile({ n: 0 })
  for (let n = 1; n <= 2_000; n++) expect(compile({ n }).n).toBe(n)
  expect(compile({ n: 0 })).toEqual(first)
  expect(compile({ n: 0 })).not.toBe(first)
})

it('knows lists of the same objects, in the same order', () => {
  const [a, b] = [{}, {}]
  const listOf = sharedList<object>()
  const known = listOf([a, b])
  expect(listOf([a, b])).toBe(known)
  for (const other of [[b, a], [a], [], [a, b, a], [a, {}]]) {
    expect(listOf(other)).toEqual(other)
    expect(listOf(other)).not.toBe(known)
  }
  const long = Array.from({ length: 100 }, () => a)
  expect(listOf(long)).toBe(long)
})
