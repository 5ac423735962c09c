import { describe, expect, it } from 'vitest'
import type { CallSummary, Interceptor } from '../engine/interceptor.ts'
import { createTestMesh } from './index.ts'

const url = 'http://payments/charge'
const mesh = () => createTestMesh({ services: { payments: { endpoints: 1 }, orders: { endpoints: 1 } } })

describe('an interceptor', () => {
  it('edits headers for every try, after the route, and answers in place of the peer', () => {
    const m = mesh()
    m.use({
      name: 'tenant',
      onRequest(request) {
        if (request.header('X-Tenant') === undefined) return { respond: { status: 401, body: 'who?' } }
        request.setHeader('X-Tenant', `${request.header('x-tenant')}!`)
        request.removeHeader('x-secret')
        expect(request.header('x-secret')).toBeUndefined()
        expect([request.method, request.authority, request.path]).toEqual(['GET', 'payments', '/charge'])
        return undefined
      },
    })
    m.peer('payments').answers(503, { times: 1 })
    expect(m.call({ url })).toMatchObject({ status: 401, details: 'interceptor_response{tenant}', attempts: [] })
    expect(m.call({ url, headers: { 'x-tenant': 'a', 'x-secret': 's' } }).status).toBe(200)
    const seen = m.peer('payments').requests.map((r) => [r.headers['x-tenant'], r.headers['x-secret']])
    expect(seen).toEqual([
      ['a!', undefined],
      ['a!', undefined],
    ])
  })

  it('that throws fails its call when it gates, unless it says otherwise, and never when it observes', () => {
    const broken = (): never => {
      throw new Error('bug')
    }
    const status = (...list: Interceptor[]) => {
      const m = mesh()
      for (const interceptor of list) m.use(interceptor)
      return m.call({ url }).status
    }
    expect(status({ name: 'gate', onRequest: broken })).toBe(500)
    expect(status({ name: 'gate', onRequest: broken, onError: 'ignore' })).toBe(200)
    expect(status({ name: 'observer', onEnd: broken, classify: broken })).toBe(200)
    const promise = (async () => undefined) as unknown as () => undefined
    expect(status({ name: 'async', onRequest: promise })).toBe(500)
    const forbidden: Interceptor = { name: 'host', onRequest: (r) => void r.setHeader('Host', 'other') as undefined }
    expect(status(forbidden)).toBe(500)
  })

  it('hears how each call ended, of its own services only, until it is taken out', () => {
    const m = mesh()
    const heard: CallSummary[] = []
    const remove = m.use({ name: 'log', services: ['payments'], onEnd: (summary) => void heard.push(summary) })
    m.peer('payments').answers(404, { afterMs: 20 })
    m.call({ url })
    m.call({ url: 'http://orders/' })
    remove()
    m.call({ url })
    expect(heard).toHaveLength(1)
    expect(heard[0]).toMatchObject({ authority: 'payments', path: '/charge', status: 404, attempts: 1, elapsedMs: 20 })
    expect(heard[0]!.host).toMatch(/^10\.0\.0\.1:8080$/)
  })

  it('is refused without a name or with too large a body', () => {
    expect(() => mesh().use({ name: '' })).toThrow(/needs a name/)
    expect(() => mesh().use({ name: 'big', bodyBytes: 20_000 })).toThrow(/bodyBytes/)
  })
})

const graphql: Interceptor = {
  name: 'graphql',
  bodyBytes: 256,
  classify: ({ bodyStart }) =>
    bodyStart !== null && Buffer.from(bodyStart).includes('"errors"') ? 'retryable' : undefined,
}

describe('a judged answer', () => {
  it('that is retryable is repeated under the rules of the route, before the caller sees it', () => {
    const m = createTestMesh({ services: { payments: { endpoints: 2 } } })
    m.use(graphql)
    m.peer('payments', 0).answers(200, { body: '{"errors":[{}]}' })
    for (let i = 0; i < 4; i++) expect(m.call({ url })).toMatchObject({ status: 200, host: 'payments/1' })
    // A POST may have run: the method gate holds.
    const posts = Array.from({ length: 4 }, () => m.call({ url, method: 'POST' }))
    expect(new Set(posts.map((p) => p.attempts.length))).toEqual(new Set([1]))
    expect(posts.some((p) => p.host === 'payments/0')).toBe(true)
  })

  it('that is a failure opens the breaker although it says 200, and a success keeps it closed although it says 500', () => {
    const run = (classify: Interceptor['classify'], status: number) => {
      const m = mesh()
      m.use({ name: 'judge', ...(classify === undefined ? {} : { classify }) })
      m.peer('payments').answers(status)
      for (let i = 0; i < 40; i++) m.call({ url, method: 'POST' })
      return m.call({ url, method: 'POST' }).details
    }
    expect(run(() => 'failure', 200)).toBe('circuit_breaker_open')
    expect(run(undefined, 500)).toBe('circuit_breaker_open')
    expect(run(() => 'success', 500)).toBe('via_upstream')
  })

  it('is judged by who came last first', () => {
    const m = createTestMesh({ services: { payments: { endpoints: 1 } } })
    const seen: string[] = []
    m.use({ name: 'a', classify: () => void seen.push('a') as undefined })
    m.use({ name: 'b', classify: () => void seen.push('b') as undefined })
    m.call({ url })
    expect(seen).toEqual(['b', 'a'])
  })
})
