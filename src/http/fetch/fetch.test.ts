import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { FormData as UndiciFormData, Request as UndiciRequest } from 'undici'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { meshClient, type TestClient } from '../../../test/support/mesh-client.ts'
import { targetOf } from './fast-request.ts'
import { type MeshFetch, meshFetch } from './fetch.ts'

const big = Buffer.alloc(1_000_000, 'abcdefghij')
const server = createServer((request, response) => void answer(request, response))
let mesh: TestClient
let fetch: MeshFetch
let port = 0

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  const { pathname, searchParams } = new URL(request.url!, 'http://x')
  const status = Number(searchParams.get('status') ?? 200)
  switch (pathname) {
    case '/redirect':
      response.writeHead(status, { location: searchParams.get('to')! }).end('elsewhere')
      return
    case '/big':
      response.end(big)
      return
    case '/gzip':
      response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('coded'))
      return
    case '/bom':
      response.end(Buffer.from('\ufeffwith mark'))
      return
    case '/cookies':
      response.writeHead(200, { 'set-cookie': ['a=1', 'b=2'], 'x-list': 'one, two' }).end('crumbs')
      return
    case '/half':
      response.writeHead(200, { 'content-length': '100' }).write('half')
      setImmediate(() => response.destroy())
      return
    case '/never':
      return
    case '/status':
      response.writeHead(status).end(status === 204 || status === 304 ? undefined : 'text')
      return
    default: {
      const { host: _, connection: __, ...headers } = request.headers
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(
        JSON.stringify({
          method: request.method,
          url: request.url,
          headers,
          body: Buffer.concat(chunks).toString('latin1'),
        }),
      )
    }
  }
}

beforeAll(async () => {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  port = (server.address() as AddressInfo).port
  mesh = meshClient({ payments: { endpoints: [port] }, other: { endpoints: [port] } })
  fetch = meshFetch(mesh.dispatcher)
})
afterAll(async () => {
  await mesh.close()
  server.close()
  server.closeAllConnections()
})

/** What both the mesh's fetch and the platform's make of the same call. */
async function both(path: string, init?: RequestInit): Promise<[unknown, unknown]> {
  const outcome = async (call: Promise<Response>) => {
    try {
      const response = await call
      const { status, statusText, ok, redirected, type } = response
      const url = response.url.replace(/^http:\/\/[^/]+/, '')
      return { status, statusText, ok, redirected, type, url, text: await response.text(), used: response.bodyUsed }
    } catch (error) {
      return (error as Error).name
    }
  }
  return Promise.all([
    outcome(fetch(`http://payments${path}`, init)),
    outcome(globalThis.fetch(`http://127.0.0.1:${port}${path}`, init)),
  ])
}

interface Echo {
  method: string
  url: string
  headers: Record<string, string>
  body: string
}
const echo = async (path: string, init?: RequestInit) =>
  (await (await fetch(`http://payments${path}`, init)).json()) as Echo

describe('fetch over the mesh does what the platform’s does', () => {
  it.each([
    '/status?status=200',
    '/status?status=204',
    '/status?status=304',
    '/status?status=404',
    '/status?status=503',
    '/big',
    '/bom',
    '/gzip',
    '/half',
  ])('with an answer like %s', async (path) => {
    const [ours, theirs] = await both(path)
    expect(ours).toEqual(theirs)
  })

  it.each([
    ['GET', 301],
    ['POST', 301],
    ['POST', 302],
    ['PUT', 302],
    ['POST', 303],
    ['HEAD', 303],
    ['POST', 307],
    ['PUT', 308],
  ])('when a %s is redirected with %i', async (method, status) => {
    const body = method === 'GET' || method === 'HEAD' ? null : 'cargo'
    const init = {
      method,
      body,
      headers: { accept: '*/*', 'accept-encoding': 'x', 'accept-language': '*', 'user-agent': 'me', 'x-own': '1' },
    }
    const [ours, theirs] = await both(`/redirect?status=${status}&to=${encodeURIComponent('/next?a=b')}`, init)
    const strip = (o: unknown) => {
      const { text, ...rest } = o as { text: string }
      if (text === '') return rest
      const { headers, ...seen } = JSON.parse(text) as Echo
      const { 'sec-fetch-mode': _, 'x-envoy-expected-rq-timeout-ms': _ms, ...other } = headers
      return { ...rest, ...seen, headers: other }
    }
    expect(strip(ours)).toEqual(strip(theirs))
  })

  it('when redirects are refused, shown, endless or lead nowhere', async () => {
    const to = encodeURIComponent('/x')
    for (const [path, init] of [
      [`/redirect?status=302&to=${to}`, { redirect: 'error' }],
      [`/redirect?status=302&to=${to}`, { redirect: 'manual' }],
      [`/redirect?status=302&to=${encodeURIComponent('ftp://x/')}`, {}],
    ] as const) {
      const [ours, theirs] = await both(path, init)
      expect(ours).toEqual(theirs)
    }
    const loop = `/redirect?status=302&to=${encodeURIComponent('')}`
    const self = `/redirect?status=302&to=${encodeURIComponent(loop)}`
    await expect(fetch(`http://payments${self}`)).rejects.toThrow('fetch failed')
  })

  it('with methods, bodies and their types', async () => {
    for (const [init, method, body, type] of [
      [{ method: 'post', body: 'text' }, 'POST', 'text', 'text/plain;charset=UTF-8'],
      [{ method: 'PATCH', body: 'text' }, 'PATCH', 'text', 'text/plain;charset=UTF-8'],
      [{ method: 'PUT', body: new Uint8Array([1, 2]) }, 'PUT', '\u0001\u0002', undefined],
      [{ method: 'PUT', body: new Uint16Array([0x4142]).buffer }, 'PUT', 'BA', undefined],
      [
        { method: 'POST', body: new URLSearchParams({ a: 'b c' }) },
        'POST',
        'a=b+c',
        'application/x-www-form-urlencoded;charset=UTF-8',
      ],
      [{ method: 'POST', body: 'x', headers: { 'Content-Type': 'a/b' } }, 'POST', 'x', 'a/b'],
      [{ method: 'POST', body: new Blob(['blob'], { type: 'c/d' }) }, 'POST', 'blob', 'c/d'],
      [{ method: 'DELETE' }, 'DELETE', '', undefined],
    ] as const) {
      const seen = await echo('/echo', init as RequestInit)
      expect([seen.method, seen.body, seen.headers['content-type']]).toEqual([method, body, type])
    }
  })

  it('with headers in every shape', async () => {
    const expected = { 'x-a': '1', 'x-b': '2' }
    for (const headers of [
      { 'X-A': '1', 'x-b': ' 2 ' },
      [
        ['X-A', '1'],
        ['x-b', '2'],
      ] as [string, string][],
      new Headers(expected),
    ])
      expect((await echo('/h', { headers })).headers).toMatchObject(expected)
    expect((await echo('/h')).headers).toMatchObject({ accept: '*/*', 'user-agent': 'inmesh' })
    expect((await echo('/h', { headers: { Accept: 'a/b', 'User-Agent': 'me' } })).headers).toMatchObject({
      accept: 'a/b',
      'user-agent': 'me',
    })
  })

  it('and refuses what fetch refuses, with a TypeError', async () => {
    for (const init of [
      { method: 'CONNECT' },
      { method: 'a b' },
      { method: 'GET', body: 'x' },
      { headers: { 'bad name': 'x' } },
      { headers: { x: 'line\nbreak' } },
      { headers: { x: '\u20ac' } },
      { headers: [['only']] as unknown as [string, string][] },
    ]) {
      await expect(fetch('http://payments/', init)).rejects.toBeInstanceOf(TypeError)
      await expect(globalThis.fetch(`http://127.0.0.1:${port}/`, init)).rejects.toBeInstanceOf(TypeError)
    }
    for (const url of ['nonsense', 'http://user:secret@payments/', 'gopher://x'])
      await expect(fetch(url)).rejects.toBeInstanceOf(TypeError)
  })

  it('takes Request objects and forms, of Node and of undici', async () => {
    const text = async (response: Response) => (await response.json()) as Echo
    expect((await text(await fetch(new Request('http://payments/r', { method: 'POST', body: 'in' })))).body).toBe('in')
    const foreign = new UndiciRequest('http://payments/r', { method: 'POST', body: 'in' }) as unknown as Request
    expect((await text(await fetch(foreign))).body).toBe('in')
    for (const form of [new FormData(), new UndiciFormData() as unknown as FormData]) {
      form.set('field', 'value')
      expect((await text(await fetch('http://payments/f', { method: 'POST', body: form }))).body).toContain(
        'name="field"',
      )
    }
  })
})

describe('an answer', () => {
  it('is a Response', async () => {
    const response = await fetch('http://payments/cookies')
    expect(response).toBeInstanceOf(Response)
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2'])
    expect(response.headers.get('x-list')).toBe('one, two')
    expect(await new Response(response.body, response).text()).toBe('crumbs')
  })

  it('gives its body once, in the shape that is asked for', async () => {
    const of = () => fetch('http://payments/cookies')
    expect(Buffer.from(await (await of()).arrayBuffer()).toString()).toBe('crumbs')
    expect(Buffer.from(await (await of()).bytes()).toString()).toBe('crumbs')
    expect(await (await (await of()).blob()).text()).toBe('crumbs')
    const response = await of()
    expect(response.bodyUsed).toBe(false)
    await response.text()
    expect(response.bodyUsed).toBe(true)
    await expect(response.text()).rejects.toBeInstanceOf(TypeError)
    expect(() => response.clone()).toThrow(TypeError)
    expect(response.body?.locked).toBe(true)
    await expect((await of()).json()).rejects.toBeInstanceOf(SyntaxError)
  })

  it('can be read as a stream, cloned, and read in both copies', async () => {
    const response = await fetch('http://payments/big')
    const copy = response.clone()
    expect(copy).toBeInstanceOf(Response)
    const [mine, theirs] = await Promise.all([response.bytes(), copy.text()])
    expect(big.equals(mine)).toBe(true)
    expect(theirs.length).toBe(big.length)
    let streamed = 0
    for await (const chunk of (await fetch('http://payments/big')).body!) streamed += chunk.length
    expect(streamed).toBe(big.length)
  })

  it('makes its sender wait while nobody reads it', async () => {
    const response = await fetch('http://payments/big')
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect((await response.bytes()).length).toBe(big.length)
  })
})

describe('a signal', () => {
  it('ends a call before, during and after the head', async () => {
    const reason = new Error('enough')
    await expect(fetch('http://payments/', { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
    const during = new AbortController()
    const waiting = fetch('http://payments/never', { signal: during.signal })
    setImmediate(() => during.abort(reason))
    await expect(waiting).rejects.toBe(reason)
    const after = new AbortController()
    const response = await fetch('http://payments/big', { signal: after.signal })
    after.abort(reason)
    await expect(response.text()).rejects.toBe(reason)
    await expect(fetch('http://payments/never', { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
  })

  it('is not listened to any longer than its call lives', async () => {
    const { signal } = new AbortController()
    let listeners = 0
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners++
      add(...args)
    }
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners--
      remove(...args)
    }
    await (await fetch('http://payments/cookies', { signal })).text()
    expect(listeners).toBe(0)
  })
})

it('reads URLs as a URL parser does', () => {
  const piece = fc.stringMatching(/^[a-zA-Z0-9.%~'"\\ |^{}[\]<>#@:;,+=&$*()!_?/-]{0,12}$/)
  fc.assert(
    fc.property(
      fc.constantFrom('payments', 'payments:80', 'payments:8080', 'Payments', 'a.b', '127.0.0.1', '127.1'),
      piece,
      piece,
      (host, path, query) => {
        const text = `http://${host}/${path}?${query}`
        if (!URL.canParse(text)) {
          expect(targetOf(text)).toBeUndefined()
          return
        }
        const url = new URL(text)
        const target = targetOf(text)
        if (url.username !== '' || url.password !== '') expect(target).toBeUndefined()
        else expect(new URL(target!.origin).origin + target!.path).toBe(url.origin + url.pathname + url.search)
      },
    ),
    { numRuns: 2_000 },
  )
})
