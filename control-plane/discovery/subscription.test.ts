import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { EncodedResource } from '../translate/types.ts'
import { Subscription, type SubscriptionRequest } from './subscription.ts'

/** A server with one subscription and a content that tests change; answers come from the test. */
class Bench {
  readonly content = new Map<string, string>()
  readonly subscription: Subscription
  now = 0
  #nonce = 0

  constructor(fullState: boolean) {
    this.subscription = new Subscription({ fullState, nextNonce: () => String(++this.#nonce) })
  }

  lookup = (name: string): EncodedResource | undefined => {
    const version = this.content.get(name)
    return version === undefined ? undefined : { typeUrl: 't', name, version, any: new Uint8Array() }
  }

  set(name: string, version: string | undefined) {
    if (version === undefined) this.content.delete(name)
    else this.content.set(name, version)
    this.subscription.suspect(name)
  }

  request(names: string[], nonce = '', error: SubscriptionRequest['error'] = null) {
    return this.subscription.onRequest({ nonce, names, error }, this.now)
  }

  /** What is sent now, as "name@version", or undefined. */
  next(keepRemoved = false): { nonce: string; sent: string[] } | undefined {
    const due = this.subscription.next(this.lookup, 'v', this.now, keepRemoved)
    if (due === undefined || 'at' in due) return undefined
    return { nonce: due.nonce, sent: due.resources.map((r) => `${r.name}@${r.version}`) }
  }

  ack(names: string[], nonce: string) {
    return this.request(names, nonce)
  }

  nack(names: string[], nonce: string) {
    return this.request(names, nonce, { code: 3, message: 'bad field' })
  }

  status() {
    return this.subscription.status(this.lookup)
  }
}

function bench(type: 'full' | 'partial', content: Record<string, string> = { a: '1', b: '1' }): Bench {
  const b = new Bench(type === 'full')
  for (const [name, version] of Object.entries(content)) b.set(name, version)
  return b
}

describe('a state-of-the-world subscription', () => {
  it('answers the first request with what was asked for and nothing else', () => {
    const b = bench('full')
    expect(b.request(['a'])).toBe('first')
    expect(b.next()?.sent).toEqual(['a@1'])
  })

  it.each(['full', 'partial'] as const)('answers the first request even when there is nothing to say (%s)', (type) => {
    const b = bench(type)
    b.request([])
    expect(b.next()?.sent).toEqual([])
    const c = bench(type)
    c.request(['missing'])
    expect(c.next()?.sent).toEqual([])
  })

  it('answers a first request that carries the nonce of another stream', () => {
    const b = bench('partial')
    expect(b.request(['a'], 'old')).toBe('first')
    expect(b.next()?.sent).toEqual(['a@1'])
  })

  it('does not answer an ACK', () => {
    const b = bench('full')
    b.request(['a'])
    const { nonce } = b.next()!
    expect(b.ack(['a'], nonce)).toBe('ack')
    expect(b.next()).toBeUndefined()
    expect(b.status().state).toBe('SYNCED')
  })

  it('sends a change to those who asked for it only', () => {
    const b = bench('partial')
    b.request(['a'])
    b.ack(['a'], b.next()!.nonce)
    b.set('b', '2')
    expect(b.next()).toBeUndefined()
    b.set('a', '2')
    expect(b.next()?.sent).toEqual(['a@2'])
  })

  it('sends nothing when the content stays the same', () => {
    const b = bench('full')
    b.request(['a'])
    b.ack(['a'], b.next()!.nonce)
    b.set('a', '1')
    expect(b.next()).toBeUndefined()
  })

  it('carries everything subscribed in complete types and only what changed in the others', () => {
    const full = bench('full')
    full.request(['a', 'b'])
    full.ack(['a', 'b'], full.next()!.nonce)
    full.set('b', '2')
    expect(full.next()?.sent).toEqual(['a@1', 'b@2'])
    const partial = bench('partial')
    partial.request(['a', 'b'])
    partial.ack(['a', 'b'], partial.next()!.nonce)
    partial.set('b', '2')
    expect(partial.next()?.sent).toEqual(['b@2'])
  })

  it('answers a name that is added, also when it comes inside an ACK', () => {
    const b = bench('partial')
    b.request(['a'])
    const { nonce } = b.next()!
    expect(b.ack(['a', 'b'], nonce)).toBe('ack')
    expect(b.next()?.sent).toEqual(['b@1'])
  })

  it('takes a request without nonce for a change of names while a response is unanswered', () => {
    const b = bench('partial')
    b.request(['a'])
    const { nonce } = b.next()!
    expect(b.request(['a', 'b'])).toBe('change')
    expect(b.next()).toBeUndefined()
    b.ack(['a', 'b'], nonce)
    expect(b.next()?.sent).toEqual(['b@1'])
  })

  it('tells of absence in complete types by leaving out, once', () => {
    const b = bench('full')
    b.request(['a'])
    b.ack(['a'], b.next()!.nonce)
    b.request(['a', 'missing'])
    const { nonce, sent } = b.next()!
    expect(sent).toEqual(['a@1'])
    b.ack(['a', 'missing'], nonce)
    expect(b.next()).toBeUndefined()
  })

  it.each(['full', 'partial'] as const)('remembers names that do not exist yet (%s)', (type) => {
    const b = bench(type)
    b.request(['later'])
    b.ack(['later'], b.next()!.nonce)
    b.set('later', '1')
    expect(b.next()?.sent).toEqual(['later@1'])
  })

  it('deletes in complete types by leaving out, and says nothing in the others', () => {
    const full = bench('full')
    full.request(['a', 'b'])
    full.ack(['a', 'b'], full.next()!.nonce)
    full.set('b', undefined)
    expect(full.next()?.sent).toEqual(['a@1'])
    const partial = bench('partial')
    partial.request(['a', 'b'])
    partial.ack(['a', 'b'], partial.next()!.nonce)
    partial.set('b', undefined)
    expect(partial.next()).toBeUndefined()
  })

  it('keeps a removed resource on the wire while it must, and removes it afterwards', () => {
    const b = bench('full')
    b.request(['a', 'b'])
    b.ack(['a', 'b'], b.next()!.nonce)
    b.set('b', undefined)
    expect(b.next(true)).toBeUndefined()
    b.set('a', '2')
    const { nonce, sent } = b.next(true)!
    expect(sent).toEqual(['a@2', 'b@1'])
    b.ack(['a', 'b'], nonce)
    expect(b.next(false)?.sent).toEqual(['a@2'])
  })

  it('sends no removal when the client has unsubscribed meanwhile', () => {
    const b = bench('full')
    b.request(['a', 'b'])
    b.ack(['a', 'b'], b.next()!.nonce)
    b.set('b', undefined)
    expect(b.next(true)).toBeUndefined()
    b.request(['a'])
    expect(b.next(false)).toBeUndefined()
  })

  it('subscribes to nothing by an empty list', () => {
    const b = bench('full')
    b.request(['a'])
    b.ack([], b.next()!.nonce)
    b.set('a', '2')
    expect(b.next()).toBeUndefined()
  })

  it.each(['full', 'partial'] as const)('sends again what is subscribed again (%s)', (type) => {
    const b = bench(type)
    b.request(['a'])
    const { nonce } = b.next()!
    b.ack(['a'], nonce)
    b.request([], nonce)
    expect(b.next()).toBeUndefined()
    b.request(['a'], nonce)
    expect(b.next()?.sent).toEqual(['a@1'])
  })

  it('sends again what was given up and taken back while its response was under way', () => {
    const b = bench('partial')
    b.request(['a'])
    const { nonce } = b.next()!
    b.request([])
    b.request(['a'])
    b.ack(['a'], nonce)
    expect(b.next()?.sent).toEqual(['a@1'])
  })

  it('ignores answers to older responses whole', () => {
    const b = bench('partial')
    b.request(['a'])
    const first = b.next()!
    b.ack(['a'], first.nonce)
    b.set('a', '2')
    const second = b.next()!
    expect(b.nack(['a', 'b'], first.nonce)).toBe('stale')
    expect(b.next()).toBeUndefined()
    expect(b.ack(['a', 'b'], second.nonce)).toBe('ack')
    expect(b.next()?.sent).toEqual(['b@1'])
  })

  it('has at most one response unanswered and coalesces what changes meanwhile', () => {
    const b = bench('partial')
    b.request(['a', 'b'])
    const { nonce } = b.next()!
    for (let i = 2; i <= 1000; i++) {
      b.set(i % 2 === 0 ? 'a' : 'b', String(i))
      expect(b.next()).toBeUndefined()
    }
    b.ack(['a', 'b'], nonce)
    expect(b.next()?.sent).toEqual(['a@1000', 'b@999'])
  })

  it('is STALE while something is unsent or unanswered', () => {
    const b = bench('partial')
    b.request(['a'])
    expect(b.status().state).toBe('NOT_SENT')
    const { nonce } = b.next()!
    expect(b.status().state).toBe('STALE')
    b.set('a', '2')
    b.ack(['a'], nonce)
    expect(b.status().state).toBe('STALE')
    b.ack(['a'], b.next()!.nonce)
    expect(b.status()).toMatchObject({ state: 'SYNCED', ackedVersion: 'v' })
  })
})

describe('a NACK', () => {
  it('parks the content: it is not sent again until it changes', () => {
    const b = bench('partial')
    b.request(['a'])
    expect(b.nack(['a'], b.next()!.nonce)).toBe('nack')
    expect(b.status()).toMatchObject({ state: 'NACK', reason: 'bad field' })
    b.set('a', '1')
    for (b.now = 0; b.now < 3_600_000; b.now += 60_000) expect(b.next()).toBeUndefined()
    b.set('a', '2')
    const fixed = b.next()!
    expect(fixed.sent).toEqual(['a@2'])
    b.ack(['a'], fixed.nonce)
    expect(b.status().state).toBe('SYNCED')
  })

  it('is made by error_detail alone', () => {
    const b = bench('partial')
    b.request(['a'])
    const { nonce } = b.next()!
    expect(b.ack(['a'], nonce)).toBe('ack')
  })

  it('does not hold up other resources', () => {
    const b = bench('partial')
    b.request(['a', 'b'])
    b.nack(['a', 'b'], b.next()!.nonce)
    b.set('b', '2')
    expect(b.next()?.sent).toEqual(['b@2'])
  })

  it('in a complete type: what else changes goes out with the refused content, which may not be left out', () => {
    const b = bench('full')
    b.request(['a', 'b'])
    b.ack(['a', 'b'], b.next()!.nonce)
    b.set('a', 'bad')
    b.nack(['a', 'b'], b.next()!.nonce)
    expect(b.next()).toBeUndefined()
    b.set('b', '2')
    expect(b.next()?.sent).toEqual(['a@bad', 'b@2'])
  })

  it('is over when the content goes back to what the client has', () => {
    const b = bench('partial')
    b.request(['a'])
    b.ack(['a'], b.next()!.nonce)
    b.set('a', 'bad')
    b.nack(['a'], b.next()!.nonce)
    b.set('a', '1')
    expect(b.next()).toBeUndefined()
    expect(b.status().state).toBe('SYNCED')
  })

  it('is over when the client subscribes anew', () => {
    const b = bench('partial')
    b.request(['a'])
    const { nonce } = b.next()!
    b.nack(['a'], nonce)
    b.request([], nonce)
    b.request(['a'], nonce)
    expect(b.next()?.sent).toEqual(['a@1'])
  })

  it('backs off when versions of the same resource are refused one after the other', () => {
    const b = bench('partial')
    b.request(['a'])
    const sentAt: number[] = []
    for (let version = 2; version < 10; version++) {
      for (let response = b.next(); ; response = b.next()) {
        if (response !== undefined) {
          sentAt.push(b.now)
          b.nack(['a'], response.nonce)
          break
        }
        b.now += 500
      }
      b.set('a', String(version))
    }
    const gaps = sentAt.slice(1).map((at, i) => at - sentAt[i]!)
    expect(gaps).toEqual([0, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000])
  })
})

describe('whatever happens', () => {
  type Op =
    | { op: 'set'; name: string; version: string | undefined }
    | { op: 'names'; names: string[] }
    | { op: 'receive'; verdict: 'ack' | 'nack' }
    | { op: 'send' }
  const name = fc.constantFrom('a', 'b', 'c')
  const op: fc.Arbitrary<Op> = fc.oneof(
    fc.record({ op: fc.constant('set' as const), name, version: fc.constantFrom('1', '2', '3', undefined) }),
    fc.record({ op: fc.constant('names' as const), names: fc.uniqueArray(name) }),
    fc.record({ op: fc.constant('receive' as const), verdict: fc.constantFrom('ack' as const, 'nack' as const) }),
    fc.record({ op: fc.constant('send' as const) }),
  )

  /** A client as the protocol wants it: applies what it ACKs, keeps what it had when it NACKs. */
  function run(fullState: boolean, ops: Op[]) {
    const b = new Bench(fullState)
    let names: string[] = []
    let lastNonce = ''
    const has = new Map<string, string>()
    const wire: { nonce: string; sent: string[] }[] = []
    let unanswered = 0
    const send = () => {
      const response = b.next()
      if (response === undefined) return
      wire.push(response)
      unanswered++
      expect(unanswered).toBe(1)
    }
    const receive = (verdict: 'ack' | 'nack') => {
      const response = wire.shift()
      if (response === undefined) return
      unanswered--
      lastNonce = response.nonce
      if (verdict === 'nack') {
        b.nack(names, lastNonce)
        return
      }
      if (fullState) has.clear()
      for (const item of response.sent) {
        const [n, v] = item.split('@') as [string, string]
        if (names.includes(n)) has.set(n, v)
      }
      b.ack(names, lastNonce)
    }
    b.request(names)
    for (const o of ops) {
      if (o.op === 'set') b.set(o.name, o.version)
      else if (o.op === 'send') send()
      else if (o.op === 'receive') receive(o.verdict)
      else {
        names = o.names
        for (const n of has.keys()) if (!names.includes(n)) has.delete(n)
        b.request(names, lastNonce)
      }
      b.now += 100_000
    }
    // Everything is new once more, so that nothing is parked; then the client ends up with what there is.
    for (const n of ['a', 'b', 'c']) if (b.content.has(n)) b.set(n, `${b.content.get(n)}!`)
    for (let i = 0; i < 10; i++) {
      b.now += 100_000
      send()
      receive('ack')
    }
    expect(b.next()).toBeUndefined()
    const wanted = names.filter((n) => b.content.has(n)).map((n) => [n, b.content.get(n)])
    // Types that cannot tell of deletion leave what was there.
    const kept = [...has].filter(([n]) => fullState || b.content.has(n))
    expect(kept.sort()).toEqual(wanted.sort())
    expect(b.status().state).toBe('SYNCED')
  }

  it.each([true, false])('the client ends up with the content (complete type: %s)', (fullState) => {
    fc.assert(
      fc.property(fc.array(op, { maxLength: 40 }), (ops) => run(fullState, ops)),
      { numRuns: 500 },
    )
  })
})
