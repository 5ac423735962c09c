import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DomainIndex, withoutPort } from './virtual-host.ts'

describe('the virtual host of an authority', () => {
  const domains = ['*', 'a.b', 'a.b:81', '*.b', '*x.b', 'a.*', 'a.bc*', '*.d:90', '[::1]', '[::1]:80', 'UPPER.case']
  const index = new DomainIndex<string>()
  for (const domain of domains) index.add(domain, domain)

  it.each([
    ['a.b', 'a.b'],
    ['a.b:80', 'a.b'],
    ['a.b:81', 'a.b:81'],
    ['z.b', '*.b'],
    ['.b', '*'],
    ['zx.b', '*x.b'],
    ['x.b', '*.b'],
    ['a.c', 'a.*'],
    ['a.bcd', 'a.bc*'],
    ['a.bc', 'a.*'],
    ['a.bc:80', 'a.*'],
    ['a.', '*'],
    ['z.d:90', '*.d:90'],
    ['z.d:91', '*'],
    ['z.d', '*'],
    ['[::1]', '[::1]'],
    ['[::1]:80', '[::1]:80'],
    ['[::1]:81', '[::1]'],
    ['upper.case', 'UPPER.case'],
    ['nobody', '*'],
  ])('%s is %s', (authority, domain) => {
    expect(index.find(authority)).toBe(domain)
  })

  it('is the longest pattern, however many there are', () => {
    const label = fc.stringMatching(/^[ab.]{1,4}$/)
    fc.assert(
      fc.property(
        fc.array(label, { maxLength: 20 }),
        fc.array(label, { maxLength: 20 }),
        label,
        (ends, starts, name) => {
          const many = new DomainIndex<string>()
          for (const text of ends) many.add(`*${text}`, `*${text}`)
          for (const text of starts) many.add(`${text}*`, `${text}*`)
          const longest = (list: readonly string[]) =>
            list.filter((text) => text.length < name.length).sort((a, b) => b.length - a.length)[0]
          const end = longest(ends.filter((text) => name.endsWith(text)))
          const start = longest(starts.filter((text) => name.startsWith(text)))
          const expected = end !== undefined ? `*${end}` : start !== undefined ? `${start}*` : undefined
          expect(many.find(name)).toBe(expected)
          expect(many.find(`${name}:80`)).toBe(expected)
        },
      ),
    )
  })

  it('is nowhere when nothing matches, and the first to claim a domain keeps it', () => {
    const small = new DomainIndex<number>()
    small.add('*.b', 1)
    small.add('*.b', 2)
    expect(small.find('a.b')).toBe(1)
    expect(small.find('b')).toBe(undefined)
  })

  it.each([
    ['a', 'a'],
    ['a:80', 'a'],
    ['[::1]', '[::1]'],
    ['[::1]:80', '[::1]'],
  ])('%s without its port is %s', (authority, bare) => {
    expect(withoutPort(authority)).toBe(bare)
  })
})
