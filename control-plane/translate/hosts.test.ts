import { describe, expect, it } from 'vitest'
import { dialledHosts, expandHost, hostCovers, mostSpecificHost, parseAuthority } from './hosts.ts'

describe('expandHost', () => {
  it.each([
    ['reviews', 'reviews.shop.svc.cluster.local'],
    ['Reviews', 'reviews.shop.svc.cluster.local'],
    ['reviews.prod', 'reviews.prod'],
    ['reviews.prod.svc.cluster.local', 'reviews.prod.svc.cluster.local'],
    ['reviews.prod.svc.cluster.local.', 'reviews.prod.svc.cluster.local'],
    ['*', '*'],
    ['*.foo.com', '*.foo.com'],
    ['10.0.0.1', '10.0.0.1'],
    ['::1', '::1'],
  ])('%s in namespace shop is %s', (host, expanded) => {
    expect(expandHost(host, 'shop', 'cluster.local')).toBe(expanded)
  })
})

describe('hostCovers', () => {
  it.each([
    ['*.foo.com', 'a.foo.com', true],
    ['*.foo.com', 'a.b.foo.com', true],
    ['*.foo.com', 'foo.com', false],
    ['*.foo.com', 'a.xfoo.com', false],
    ['*.foo.com', '.foo.com', false],
    ['foo.com', 'foo.com', true],
    ['foo.com', 'a.foo.com', false],
    ['*', 'anything', true],
  ])('%s covers %s: %s', (pattern, host, covers) => {
    expect(hostCovers(pattern, host)).toBe(covers)
  })

  it('prefers the host itself, then the longest wildcard', () => {
    const patterns = ['*', '*.com', '*.foo.com', 'a.foo.com']
    expect(mostSpecificHost(patterns, 'a.foo.com')).toBe('a.foo.com')
    expect(mostSpecificHost(patterns, 'b.foo.com')).toBe('*.foo.com')
    expect(mostSpecificHost(patterns, 'b.org')).toBe('*')
    expect(mostSpecificHost(['*.com'], 'b.org')).toBeUndefined()
  })
})

describe('dialledHosts', () => {
  const own = 'payments.shop.svc.cluster.local'
  it.each([
    ['payments', [own, 'payments']],
    ['payments.shop', [own, 'payments.shop']],
    ['payments.shop.svc', [own, 'payments.shop.svc']],
    ['payments.shop.svc.cluster.local', [own]],
    ['Payments.Shop.svc.cluster.local.', [own]],
    ['api.example.com', ['api.example.com']],
    ['10.0.0.1', ['10.0.0.1']],
  ])('%s dialled in shop', (name, hosts) => {
    expect(dialledHosts(name, 'shop', 'cluster.local')).toEqual(hosts)
  })
})

describe('parseAuthority', () => {
  it.each([
    ['payments', { host: 'payments', port: 80 }],
    ['Payments:8080', { host: 'payments', port: 8080 }],
    ['[::1]:9000', { host: '::1', port: 9000 }],
    ['[::1]', { host: '::1', port: 80 }],
    ['10.0.0.1:1', { host: '10.0.0.1', port: 1 }],
    ['', undefined],
    ['a:0', undefined],
    ['a:70000', undefined],
    ['a:b', undefined],
    ['a:80:90', undefined],
    ['::1', undefined],
    ['[nope]:80', undefined],
    ['a/b', undefined],
    ['a b', undefined],
    ['user@host', undefined],
    ['outbound|80||x', undefined],
    ['inmesh/inbound/10.0.0.1:80', undefined],
  ])('%s', (text, parsed) => {
    expect(parseAuthority(text)).toEqual(parsed)
  })
})
