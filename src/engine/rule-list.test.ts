import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { PathMatch, RouteSpec } from '../model/route.ts'
import { compileRule } from './compile-route.ts'
import { Outbound } from './outbound.ts'
import { RuleList } from './rule-list.ts'
import { Dice } from './testing/dice.ts'
import { everyPath, listenerSpec, routeSpec } from './testing/specs.ts'

const { random } = new Dice(7, 7)

function view(path: string, authority = 'svc', header: string | undefined = undefined) {
  return { method: 'GET', authority, path, header: (name: string) => (name === 'x' ? header : undefined) }
}

function route(name: string, path: PathMatch, header = false): RouteSpec {
  const present = { name: 'x', invert: false, missingAsEmpty: false, kind: 'present' as const, present: true }
  return routeSpec('c', {
    name,
    match: { ...everyPath, path, headers: header ? [present] : [] },
    action: { kind: 'direct', status: 200, body: '' },
  })
}

describe('a list of rules', () => {
  const text = fc.constantFrom('/', '/a', '/A', '/b', '/a/b', '/c')
  const match: fc.Arbitrary<PathMatch> = fc.record({
    kind: fc.constantFrom('exact' as const, 'exact' as const, 'exact' as const, 'prefix' as const, 'segments' as const),
    value: text,
    ignoreCase: fc.boolean(),
  })

  it('finds the first that matches, with an index as without', () => {
    const rules = fc.array(fc.tuple(match, fc.boolean()), { maxLength: 30 })
    fc.assert(
      fc.property(rules, text, fc.boolean(), (specs, path, header) => {
        const compiled = specs.map(([m, h], i) => compileRule(route(String(i), m, h), () => undefined))
        const asked = view(path, 'svc', header ? '' : undefined)
        const expected = compiled.find((rule) => rule.matches(asked, path, random))
        expect(new RuleList(compiled).first(asked, path, random)).toBe(expected)
      }),
    )
  })
})

describe('a table of a thousand routes', () => {
  /** ns per match, the best of several rounds: what the machine does besides only ever adds. */
  function nsPerMatch(outbound: Outbound, paths: readonly string[], authorities: readonly string[]): number {
    const views = authorities.flatMap((authority) => paths.map((path) => view(path, authority)))
    let best = Number.POSITIVE_INFINITY
    for (let round = 0; round < 12; round++) {
      const begin = performance.now()
      for (let i = 0; i < 20_000; i++) outbound.match(views[i % views.length]!, random)
      best = Math.min(best, ((performance.now() - begin) * 1e6) / 20_000)
    }
    return best
  }
  const many = Array.from({ length: 1_000 }, (_, i) => i)

  it('on distinct hosts costs about what one costs', () => {
    const virtualHosts = many.map((i) => ({
      name: `h${i}`,
      domains: [`svc-${i}`, `svc-${i}.shop.svc.cluster.local`],
      routes: [route('r', { kind: 'prefix', value: '/', ignoreCase: false })],
    }))
    const large = new Outbound({ name: 'l', routes: { name: 'l', virtualHosts } }, () => undefined)
    const small = new Outbound(
      { name: 's', routes: { name: 's', virtualHosts: virtualHosts.slice(0, 1) } },
      () => undefined,
    )
    const authorities = ['svc-0', 'svc-999', 'svc-500.shop.svc.cluster.local']
    expect(authorities.every((a) => large.match(view('/', a), random).name === 'r')).toBe(true)
    const one = nsPerMatch(small, ['/'], ['svc-0'])
    // The bench measures it to the percent; here a walk over the table would show, noise does not.
    expect(nsPerMatch(large, ['/'], authorities)).toBeLessThan(one * 3 + 100)
  })

  it('of exact paths on one host is not walked', () => {
    const routes = many.map((i) => route(`r${i}`, { kind: 'exact', value: `/p/${i}`, ignoreCase: false }))
    const large = new Outbound(listenerSpec('svc', routes), () => undefined)
    const small = new Outbound(listenerSpec('svc', routes.slice(0, 1)), () => undefined)
    expect(large.match(view('/p/999?q'), random).name).toBe('r999')
    expect(nsPerMatch(large, ['/p/999'], ['svc'])).toBeLessThan(nsPerMatch(small, ['/p/0'], ['svc']) * 5 + 200)
  })
})
