import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isFailure } from './identity-failure.ts'
import { parseSpiffeId, workloadSpiffeId } from './spiffe-id.ts'

interface Row {
  id: string
  input: string
  valid: boolean
  trustDomain?: string
  path?: string
  rule: string
}
const table = new URL('../../test/conformance/spiffe-id.json', import.meta.url)
const { rows } = JSON.parse(readFileSync(table, 'utf8')) as { rows: Row[] }

describe('spiffe-id-table', () => {
  it('has all rows', () => expect(rows.length).toBeGreaterThanOrEqual(92))

  it.each(rows)('$id: $rule', ({ input, valid, trustDomain, path }) => {
    const id = parseSpiffeId(input)
    if (isFailure(id)) {
      expect(valid).toBe(false)
      expect(id.failure).toBe('SPIFFE_ID')
    } else {
      expect(valid).toBe(true)
      expect(id).toMatchObject({ text: input, trustDomain, path })
    }
  })
})

const domain = fc.stringMatching(/^[a-z0-9._-]{1,255}$/)
const segment = fc.stringMatching(/^[A-Za-z0-9._-]{1,40}$/).filter((s) => s !== '.' && s !== '..')

describe('spiffe-id-roundtrip-property', () => {
  it('gives back what it was made of', () => {
    fc.assert(
      fc.property(domain, fc.array(segment, { maxLength: 8 }), (td, segments) => {
        const path = segments.map((s) => `/${s}`).join('')
        const id = parseSpiffeId(`spiffe://${td}${path}`)
        expect(id).toMatchObject({ text: `spiffe://${td}${path}`, trustDomain: td, path })
      }),
    )
  })

  it('accepts nothing that differs from its own parts put together, whatever the text', () => {
    const alphabet = fc.constantFrom(...'spife:/.-_a0AZ%?#@\\ \n\u0000é'.split(''))
    const texts = fc.oneof(
      fc.string(),
      fc.string({ unit: 'binary' }),
      fc.array(alphabet, { maxLength: 30 }).map((chars) => `spiffe://${chars.join('')}`),
    )
    fc.assert(
      fc.property(texts, (text) => {
        const id = parseSpiffeId(text)
        if (isFailure(id)) return
        expect(`spiffe://${id.trustDomain}${id.path}`).toBe(text)
        expect(text).toMatch(/^spiffe:\/\/[a-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/)
        expect(id.path.split('/').slice(1)).not.toContain('..')
      }),
      { numRuns: 2_000 },
    )
  })

  it('namespace and service account come from a path of exactly that shape', () => {
    const part = (text: string) => {
      const id = parseSpiffeId(text)
      return isFailure(id) ? null : [id.namespace, id.serviceAccount]
    }
    expect(part('spiffe://td/ns/shop/sa/orders')).toEqual(['shop', 'orders'])
    for (const path of [
      '/ns/a/ns/admin/sa/y',
      '/x/ns/shop/sa/orders',
      '/ns/shop/sa/orders/x',
      '/NS/shop/sa/orders',
      '/ns',
    ]) {
      expect(part(`spiffe://td${path}`), path).toEqual(['', ''])
    }
  })

  it('a part cannot smuggle in another part', () => {
    expect(workloadSpiffeId('td', 'shop', 'orders')).toMatchObject({ text: 'spiffe://td/ns/shop/sa/orders' })
    fc.assert(
      fc.property(fc.string(), fc.string(), (namespace, account) => {
        const id = workloadSpiffeId('td', namespace, account)
        if (!isFailure(id)) expect([id.namespace, id.serviceAccount]).toEqual([namespace, account])
      }),
    )
    for (const bad of ['', 'a/sa/admin', 'a/b', '..', 'a b', 'a%2fb']) {
      expect(isFailure(workloadSpiffeId('td', bad, 'orders')), bad).toBe(true)
      expect(isFailure(workloadSpiffeId('td', 'shop', bad)), bad).toBe(true)
    }
    expect(isFailure(workloadSpiffeId('td/ns/x/sa/y', 'shop', 'orders'))).toBe(true)
  })
})
