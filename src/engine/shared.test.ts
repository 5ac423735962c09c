import { expect, it } from 'vitest'
import { shared } from './shared.ts'

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
