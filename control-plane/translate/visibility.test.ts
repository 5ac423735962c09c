import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isVisible, visibilityFrom, visibleInOrder } from './visibility.ts'

const from = (exportTo: string[] | undefined, viewer: string, fallback?: string[]) =>
  visibilityFrom({ home: 'shop', exportTo, ...(fallback === undefined ? {} : { fallback }) }, viewer)

describe('exportTo', () => {
  it('is everyone when absent or empty, unless the mesh says otherwise', () => {
    expect(from(undefined, 'other')).toBe('public')
    expect(from([], 'other')).toBe('public')
    expect(from(undefined, 'other', ['.'])).toBeUndefined()
    expect(from([], 'shop', ['.'])).toBe('private')
    expect(from(['*'], 'other', ['~'])).toBe('public')
  })

  it.each([
    [['.'], 'shop', 'private'],
    [['shop'], 'shop', 'private'],
    [['.'], 'other', undefined],
    [['other'], 'other', 'exported'],
    [['other'], 'shop', undefined],
    [['other', '.'], 'shop', 'private'],
    [['~'], 'shop', undefined],
    [['~'], 'other', undefined],
    [['*'], 'shop', 'public'],
  ] as const)('%j seen from %s is %s', (exportTo, viewer, expected) => {
    expect(from([...exportTo], viewer)).toBe(expected)
  })

  it('puts private before exported before public and keeps the order within each', () => {
    const objects = [
      { name: 'public-1', home: 'a', exportTo: ['*'] },
      { name: 'hidden', home: 'a', exportTo: ['.'] },
      { name: 'exported', home: 'a', exportTo: ['shop'] },
      { name: 'private-1', home: 'shop', exportTo: ['.'] },
      { name: 'public-2', home: 'shop', exportTo: undefined },
      { name: 'private-2', home: 'shop', exportTo: ['shop', 'b'] },
    ]
    expect(visibleInOrder(objects, (o) => o, 'shop').map((o) => o.name)).toEqual([
      ...['private-1', 'private-2', 'exported', 'public-1', 'public-2'],
    ])
  })

  it('shows an object to nobody whom its list does not name', () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd')
    fc.assert(
      fc.property(
        name,
        name,
        fc.array(fc.constantFrom('.', 'a', 'b', 'c', 'd'), { minLength: 1 }),
        (home, viewer, list) => {
          const named = list.includes(viewer) || (list.includes('.') && viewer === home)
          expect(isVisible({ home, exportTo: list }, viewer)).toBe(named)
        },
      ),
    )
  })
})
