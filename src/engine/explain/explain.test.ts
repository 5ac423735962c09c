import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { clusterDefaults } from '../../model/cluster.ts'
import type { HeaderMatch, StringMatch } from '../../model/match.ts'
import type { PathMatch, QueryMatch, RouteAction, RouteMatch, RouteSpec } from '../../model/route.ts'
import { emptySnapshot } from '../../model/snapshot.ts'
import { Call } from '../call.ts'
import { Engine } from '../engine.ts'
import { Dice } from '../testing/dice.ts'
import { Lab } from '../testing/lab.ts'
import {
  breakerSpec,
  clusterSpec,
  endpoint,
  everyPath,
  listenerSpec,
  noLimits,
  outlierSpec,
  retrySpec,
  routeSpec,
  snapshotOf,
} from '../testing/specs.ts'
import { explain } from './explain.ts'
import type { ExplainRequest } from './explanation.ts'
import { formatExplanation } from './format-explanation.ts'
import { AskedRequest } from './request.ts'

const path = (value: string, kind: 'prefix' | 'exact' = 'prefix'): RouteMatch => ({
  ...everyPath,
  path: { kind, value, ignoreCase: false },
})

const text = (kind: 'exact' | 'prefix', value: string): StringMatch => ({ kind, value, ignoreCase: false })

describe('an explanation', () => {
  it('says of each rule why it does not take the request, with what was asked for and what was found', () => {
    const lab = new Lab()
    const header = { name: 'x-tier', invert: false, missingAsEmpty: false } as const
    lab.apply(
      [clusterSpec('c')],
      [
        routeSpec('c', { name: 'exact', match: path('/pay', 'exact') }),
        routeSpec('c', {
          name: 'gold',
          match: { ...path('/charge'), headers: [{ ...header, kind: 'string', match: text('exact', 'gold') }] },
        }),
        routeSpec('c', {
          name: 'query',
          match: { ...path('/charge'), query: [{ name: 'v', kind: 'string', match: text('prefix', '2') }] },
        }),
        routeSpec('c', { name: 'rest', decidedBy: { route: 'VirtualService/default/payments' } }),
        routeSpec('c', { name: 'never' }),
      ],
    )
    const { rules, summary } = explain(lab.engine, { url: 'http://svc/charge?v=1', headers: { 'X-Tier': 'silver' } })
    expect(rules.map((r) => r.why)).toEqual([
      'asks that path is "/pay"; it is "/charge"',
      'asks that header x-tier is "gold"; it is "silver"',
      'asks that query parameter v begins with "2"; it is "1"',
      null,
      'a rule before it takes every such request',
    ])
    expect(rules.map((r) => r.share)).toEqual([0, 0, 0, 1, 0])
    expect(rules.map((r) => r.matched)).toEqual([false, false, false, true, true])
    expect(rules[3]!.decidedBy).toBe('VirtualService/default/payments')
    expect(summary).toBe('to c by rule "rest"')
    expect(explain(lab.engine, { url: 'http://svc/charge' }).rules[1]!.why).toBe(
      'asks that header x-tier is "gold"; it is absent',
    )
  })

  it('shows splits and fractions as shares', () => {
    const lab = new Lab()
    const split: RouteAction = {
      kind: 'forward',
      clusters: [
        { name: 'c', weight: 3 },
        { name: 'd', weight: 1 },
      ],
    }
    lab.apply(
      [clusterSpec('c'), clusterSpec('d')],
      [
        routeSpec('c', { name: 'some', match: { ...everyPath, fractionPerMillion: 200_000 } }),
        routeSpec('c', { name: 'rest', action: split }),
      ],
    )
    const { destinations, rules } = explain(lab.engine, { url: 'http://svc/' })
    expect(destinations.map((d) => [d.rule, d.cluster, d.share])).toEqual([
      ['some', 'c', 0.2],
      ['rest', 'c', 0.8 * 0.75],
      ['rest', 'd', 0.2],
    ])
    expect(rules[0]!.why).toBe('takes 20 % of what comes to it')
  })

  it('says who is out and why, and what would be refused now', () => {
    const hosts = [
      endpoint(1),
      endpoint(2, { health: 'DRAINING' }),
      endpoint(3, { health: 'UNHEALTHY' }),
      endpoint(4, { priority: 1 }),
      endpoint(5),
    ]
    // So that a quarter of the first level is enough.
    const priorities = { ...clusterDefaults.priorities, overprovisioningPercent: 400 }
    const lab = Lab.of({
      endpoints: hosts,
      outlier: outlierSpec(),
      breaker: breakerSpec({ minimumRequests: 20 }),
      priorities,
    })
    const bad = lab.cluster.hosts[4]!
    while (bad.ejectedUntil === 0) {
      const call = lab.call()
      call.latest.answer(call.latest.host === bad ? 500 : 200)
    }
    const explained = explain(lab.engine, { url: 'http://svc/' }).destinations[0]!
    expect(explained.hosts.map((h) => h.why)).toEqual([
      null,
      'draining: it is about to leave',
      'unhealthy',
      'priority 1 waits until those before it are not enough',
      'ejected by outlier detection (consecutive-5xx), for 2 s more',
    ])
    expect(explained.refusal).toBeNull()
    while (lab.cluster.breaker!.state === 'closed') lab.answers(1, 500)
    const broken = explain(lab.engine, { url: 'http://svc/' }).destinations[0]!
    expect(broken.refusal).toMatchObject({ status: 503, details: 'circuit_breaker_open' })
    expect(broken.policies.find((p) => p.name === 'breaker')!.value).toMatch(/^open for /)
  })

  it('says that a limit is reached', () => {
    const lab = Lab.of({ limits: { ...noLimits, maxRequests: 1 } })
    expect(explain(lab.engine, { url: 'http://svc/' }).destinations[0]!.refusal).toBeNull()
    lab.call()
    expect(explain(lab.engine, { url: 'http://svc/' }).destinations[0]!.refusal).toMatchObject({ flag: 'UO' })
  })

  it('shows the path, authority and headers that the peer would see', () => {
    const lab = Lab.of(
      {},
      {
        rewrite: { path: { kind: 'prefix', value: '/v2' }, authority: 'inner' },
        match: path('/api'),
        headers: {
          request: [
            { kind: 'remove', name: 'x-secret' },
            { kind: 'set', name: 'x-route', value: '%REQ(:path)%', keepEmpty: false },
          ],
          response: [],
        },
      },
    )
    const { destinations } = explain(lab.engine, { url: 'http://svc/api/x?q=1', headers: { 'x-secret': 'a', y: 'b' } })
    expect(destinations[0]!.rewritten).toMatchObject({ path: '/v2/x?q=1', authority: 'inner', removed: ['x-secret'] })
    expect(destinations[0]!.rewritten!.set).toEqual({ 'x-route': '/api/x?q=1' })
  })

  it('answers for hosts that it knows nothing of, that are absent, and that are not HTTP', () => {
    const engine = new Engine({ clock: { now: () => 0 }, random: new Dice(1, 1).random, events: null })
    engine.apply({ ...emptySnapshot, absent: new Set(['other']) })
    expect(explain(engine, { url: 'http://svc/' }).outcome).toBe('not-configured')
    expect(explain(engine, { url: 'http://other/' }, { passthrough: true }).outcome).toBe('passthrough')
    expect(explain(engine, { url: 'http://other/' }).outcome).toBe('refused')
    expect(explain(engine, { url: 'https://other/' }).outcome).toBe('not-http')
    engine.close()
  })

  it('is a text for people', () => {
    const lab = Lab.of({ endpoints: [endpoint(1)] }, { name: 'all', retry: retrySpec(), timeoutMs: 5_000 })
    const lines = formatExplanation(explain(lab.engine, { url: 'http://svc/x' })).split('\n')
    expect(lines).toContain('GET http://svc/x')
    expect(lines).toContain('  => [0] all: matches')
    expect(lines).toContain('  timeout: 5 s to the end of the answer')
    expect(lines).toContain('  host 10.0.0.1:80 weight 1: usable, 0 under way')
  })
})

// Few words, so that rules and requests meet.
const word = fc.constantFrom('a', 'b', 'ab', 'A')
const segment = fc.constantFrom('/', '/a', '/a/b', '/ab', '/b')
const stringMatch: fc.Arbitrary<StringMatch> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('exact', 'prefix', 'suffix', 'contains'),
    value: word,
    ignoreCase: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('regex'), value: fc.constantFrom('a', 'a|b', '[ab]+', '.*') }),
)
const pathMatch: fc.Arbitrary<PathMatch> = fc.oneof(
  fc.record({ kind: fc.constantFrom('prefix', 'exact', 'segments'), value: segment, ignoreCase: fc.boolean() }),
  fc.record({ kind: fc.constant('regex'), value: fc.constantFrom('/a', '/a.*', '/[ab]/?b?') }),
)
const headerMatch: fc.Arbitrary<HeaderMatch> = fc
  .record({
    name: fc.constantFrom('x', 'y', ':method', ':authority', ':path'),
    invert: fc.boolean(),
    missingAsEmpty: fc.boolean(),
  })
  .chain((base) =>
    fc.oneof(
      stringMatch.map((match): HeaderMatch => ({ ...base, kind: 'string', match })),
      fc.boolean().map((present): HeaderMatch => ({ ...base, kind: 'present', present })),
    ),
  )
const queryMatch: fc.Arbitrary<QueryMatch> = fc.oneof(
  fc.record({ name: word, kind: fc.constant('string'), match: stringMatch }),
  fc.record({ name: word, kind: fc.constant('present'), present: fc.boolean() }),
)
const action: fc.Arbitrary<RouteAction> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .array(fc.record({ name: fc.constantFrom('c', 'd', 'gone', 'pass'), weight: fc.integer({ min: 1, max: 5 }) }), {
        minLength: 1,
        maxLength: 3,
      })
      .map((clusters): RouteAction => ({ kind: 'forward', clusters })),
  },
  { weight: 1, arbitrary: fc.constant<RouteAction>({ kind: 'direct', status: 418, body: '' }) },
)
const rule = fc
  .record({
    match: fc.record({
      path: pathMatch,
      headers: fc.array(headerMatch, { maxLength: 2 }),
      query: fc.array(queryMatch, { maxLength: 2 }),
      fractionPerMillion: fc.oneof(
        { weight: 4, arbitrary: fc.constant(null) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 1_000_000 }) },
      ),
    }),
    action,
  })
  .map(
    (parts) =>
      (name: string): RouteSpec =>
        routeSpec('c', { name, ...parts }),
  )
const virtualHosts = fc
  .array(
    fc.record({
      domains: fc.array(fc.constantFrom('*', 'svc', 'svc:*', '*c', 's*'), { minLength: 1, maxLength: 2 }),
      rules: fc.array(rule, { maxLength: 5 }),
    }),
    { minLength: 1, maxLength: 2 },
  )
  .map((hosts) =>
    hosts.map(({ domains, rules }, h) => ({
      name: `h${h}`,
      domains,
      routes: rules.map((make, i) => make(`h${h}r${i}`)),
    })),
  )
const request: fc.Arbitrary<ExplainRequest> = fc.record({
  method: fc.constantFrom('GET', 'POST', 'a'),
  url: fc
    .tuple(
      segment,
      fc.array(
        fc.tuple(word, word).map((p) => p.join('=')),
        { maxLength: 2 },
      ),
    )
    .map(([p, query]) => `http://svc${p}${query.length === 0 ? '' : `?${query.join('&')}`}`),
  headers: fc.dictionary(fc.constantFrom('x', 'y', 'X'), word, { maxKeys: 2 }),
})

describe('an explanation and the decision', () => {
  it('name the same rule and cluster, whatever the table and the request', () => {
    fc.assert(
      fc.property(
        virtualHosts,
        fc.array(request, { minLength: 1, maxLength: 6 }),
        fc.nat(),
        (hosts, requests, seed) => {
          const random = new Dice(seed, 1).random
          const engine = new Engine({ clock: { now: () => 0 }, random, events: null })
          const snapshot = snapshotOf(
            [listenerSpec('svc', [])],
            [clusterSpec('c'), clusterSpec('d'), clusterSpec('pass', { kind: 'passthrough', endpoints: [] })],
          )
          engine.apply({
            ...snapshot,
            listeners: new Map([['svc', { name: 'svc', routes: { name: 'svc', virtualHosts: hosts } }]]),
          })
          for (const asked of requests) {
            const { rules, destinations, outcome } = explain(engine, asked)
            const possible = destinations.map((d) => `${d.rule} ${d.kind} ${d.answer?.status ?? ''}`)
            const share = destinations.reduce((sum, d) => sum + d.share, 0)
            expect(share).toBeLessThanOrEqual(1 + 1e-9)
            if (outcome === 'no-route') expect(rules.every((r) => r.share === 0)).toBe(true)
            for (let i = 0; i < 4; i++) {
              const target = engine.outbound('svc')!.match(new AskedRequest(asked), random)
              const nowhere = target.kind === 'direct' && target.rejection.flag === 'NR'
              if (nowhere) expect(share).toBeLessThan(1 - 1e-7)
              else if (target.kind === 'route') {
                expect(possible).toContain(`${target.name} cluster `)
                expect(destinations.some((d) => d.rule === target.name && d.cluster === target.cluster.name)).toBe(true)
              } else if (target.kind === 'passthrough') expect(possible).toContain(`${target.name} passthrough `)
              else expect(possible).toContain(`${target.name} answer ${target.rejection.status}`)
            }
          }
          engine.close()
        },
      ),
      { numRuns: 3_000 },
    )
  })

  it('are apart: asking changes no draw, no counter and no turn', () => {
    const run = (ask: boolean) => {
      const lab = Lab.of(
        { outlier: outlierSpec(), breaker: breakerSpec(), limits: { ...noLimits, maxRequests: 50 } },
        { match: { ...everyPath, fractionPerMillion: 900_000 }, retry: retrySpec() },
      )
      const seen: string[] = []
      const target = () => lab.engine.outbound('svc')!.match(new AskedRequest({ url: 'http://svc/' }), lab.random)
      for (let i = 0; i < 40; i++) {
        if (ask) explain(lab.engine, { url: 'http://svc/' })
        const found = target()
        if (found.kind !== 'route') {
          seen.push(found.kind)
          continue
        }
        const call = new Call(lab.engine, new AskedRequest({ url: 'http://svc/' }), found)
        seen.push(found.cluster.pick(call, null, 0)?.address ?? 'nobody')
      }
      return seen
    }
    expect(run(true)).toEqual(run(false))
  })
})
