import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { cluster, endpoints, listener, route } from '../../../test/support/xds-resources.ts'
import { peekName } from './resource-name.ts'

describe('the name of a resource that is not decoded', () => {
  it('is read of every type', () => {
    const name = 'outbound|80||a'
    for (const any of [cluster(name), endpoints(name), listener(name, 'r'), route(name, 'c')])
      expect(peekName(any.value)).toBe(name)
  })

  it('is read although what follows is cut off', () => {
    expect(peekName(cluster('a').value.subarray(0, 5))).toBe('a')
  })

  it('is undefined when there is none, and no bytes make it throw', () => {
    expect(peekName(new Uint8Array())).toBeUndefined()
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const name = peekName(bytes)
        expect(name === undefined || name.length > 0).toBe(true)
      }),
    )
  })
})
