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
