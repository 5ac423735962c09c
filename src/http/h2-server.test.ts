import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2'
import { connect as connectTls } from 'node:tls'
import Koa from 'koa'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient } from '../../test/support/mesh-client.ts'
import { identityOf, spiffe } from '../../test/support/mesh-http.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { Inbound } from '../engine/inbound.ts'
import { systemClock } from '../model/clock.ts'
import { type InboundSpec, inboundDefaults, type RbacPolicy } from '../model/inbound.ts'
import { getPeer } from '../transport/peer.ts'
import { getAbortSignal } from './abort-signal.ts'
import { createMeshServer, type MeshServer } from './server.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function start(
  listener: RequestListener,
  tlsMode: InboundSpec['tlsMode'],
  deny: RbacPolicy[] = [],
  http2 = true,
): Promise<{ port: number; server: MeshServer }> {
  const rbac = deny.length === 0 ? [] : [{ filterName: 'rbac', action: 'DENY' as const, policies: deny }]
  const inbound = new Inbound({ ...inboundDefaults, name: 'test', tlsMode, rbac })
  const server = createMeshServer(listener, {
    identity: identityOf(ca, 'payments'),
    inbound: () => inbound,
    clock: systemClock,
    http2,
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  closing.push(() => server.close({ graceMs: 0 }))
  return { port: (server.address() as { port: number }).port, server }
}

async function session(port: number, secure: boolean): Promise<ClientHttp2Session> {
  const { certPem, keyPem } = ca.issue(spiffe(ca, 'orders'))
  const made = connect(`http://127.0.0.1:${port}`, {
    ...(secure
      ? {
          createConnection: () =>
            connectTls({
              host: '127.0.0.1',
              port,
              cert: certPem,
              key: keyPem,
              ca: [ca.rootPem],
              ALPNProtocols: ['h2'],
              checkServerIdentity: () => undefined,
            }),
        }
      : {}),
  })
  closing.push(() => made.destroy())
  await once(made, 'connect')
  return made
}

async function get(
  http: ClientHttp2Session,
  path: string,
  headers: OutgoingHttpHeaders = {},
  body = '',
): Promise<string> {
  const stream = http.request({
    ':path': path,
    ':method': body === '' ? 'GET' : 'POST',
    ':authority': 'payments',
    ...headers,
  })
  if (body !== '') stream.end(body)
  const [head] = (await once(stream, 'response')) as [Record<string, unknown>]
  let text = ''
  for await (const chunk of stream) text += String(chunk)
  return `${String(head[':status'])} ${text}`.trim()
}

const denyAdmin: RbacPolicy = {
  name: 'no-admin',
  permissions: [{ kind: 'path', match: { kind: 'prefix', value: '/admin', ignoreCase: false } }],
  principals: [{ kind: 'any' }],
}
const denySecond: RbacPolicy = {
  name: 'no-second',
  permissions: [
    {
      kind: 'header',
      match: {
        name: 'x-role',
        invert: false,
        missingAsEmpty: false,
        kind: 'string',
        match: { kind: 'exact', value: 'root', ignoreCase: false },
      },
    },
  ],
  principals: [{ kind: 'any' }],
}

const echo: RequestListener = (req, res) => {
  let body = ''
  req.on('data', (chunk) => {
    body += String(chunk)
  })
  req.on('end', () =>
    res.end(`${req.httpVersion} ${req.headers.host} ${req.url} ${getPeer(req)?.serviceAccount ?? '-'} ${body}`),
  )
}

describe('a mesh server that speaks HTTP/2', () => {
  it('over mutual TLS and in plaintext on one port, beside HTTP/1.1', async () => {
    const { port } = await start(echo, 'PERMISSIVE')
    const secure = await session(port, true)
    expect(await get(secure, '/a?b', {}, 'body')).toBe('200 2.0 payments /a?b orders body')
    expect(await get(await session(port, false), '/a')).toBe('200 2.0 payments /a -')
    expect(await (await fetch(`http://127.0.0.1:${port}/a`)).text()).toBe(`1.1 127.0.0.1:${port} /a - `)
    const many = await Promise.all(Array.from({ length: 150 }, (_, i) => get(secure, `/${i}`)))
    expect(new Set(many).size).toBe(150)
  })

  it('judges its requests as others: path, each line of a header, headers of the mesh itself', async () => {
    const seen: string[] = []
    const { port } = await start(
      (req, res) => {
        seen.push(
          Object.keys(req.headers)
            .filter((name) => name.startsWith('x-'))
            .join(),
        )
        res.end('in')
      },
      'STRICT',
      [denyAdmin, denySecond],
    )
    const http = await session(port, true)
    expect(await get(http, '/')).toBe('200 in')
    expect(await get(http, '/admin')).toBe('403 RBAC: access denied')
    expect(await get(http, '/x/../admin')).toBe('403 RBAC: access denied')
    expect(await get(http, '/', { 'x-role': ['guest', 'root'] })).toBe('403 RBAC: access denied')
    expect(await get(http, '/', { 'x-envoy-secret': '1', 'x-own': '1' })).toBe('200 in')
    expect(seen).toEqual(['', 'x-own'])
    expect(await get(http, '/', { host: 'other' })).toBe('400 host and :authority differ')
  })

  it('STRICT: plaintext HTTP/2 is cut like any plaintext', async () => {
    const { port } = await start(echo, 'STRICT')
    const http = await session(port, false)
    http.on('error', () => undefined)
    const stream = http.request({ ':path': '/' })
    stream.on('error', () => undefined)
    let answered = false
    stream.on('response', () => {
      answered = true
    })
    await once(http, 'close')
    expect(answered).toBe(false)
  })

  it('does not offer it unless told to', async () => {
    const { port } = await start(echo, 'PERMISSIVE', [], false)
    await expect(session(port, true).then((http) => get(http, '/'))).rejects.toThrow()
  })

  it('says goodbye when it drains, and lets what is under way end', async () => {
    let answer = () => {}
    const { port, server } = await start((_req, res) => {
      answer = () => res.end('done')
    }, 'STRICT')
    const http = await session(port, true)
    const goodbye = once(http, 'goaway')
    const waiting = get(http, '/slow')
    while (server.server.listening && http.state.outboundQueueSize !== 0) await new Promise(setImmediate)
    await new Promise((resolve) => setTimeout(resolve, 50))
    const closed = server.close()
    await goodbye
    answer()
    expect(await waiting).toBe('200 done')
    await closed
  })

  it('serves Koa, and a client of the mesh', async () => {
    const app = new Koa()
    app.use((context) => {
      const { path, host } = context as unknown as { path: string; host: string }
      context.body = { path, host }
    })
    const { port } = await start(app.callback(), 'STRICT')
    const mesh = meshClient(
      {
        payments: {
          endpoints: [{ port, tlsMode: 'mtls', spiffeId: spiffe(ca, 'payments') }],
          cluster: { protocol: 'h2' },
        },
      },
      { identity: identityOf(ca, 'orders') },
    )
    closing.push(() => mesh.close())
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => call(mesh.dispatcher, `http://payments/${i}`)),
    )
    expect(answers.map((a) => JSON.parse(a.text) as unknown)).toEqual(
      answers.map((_, i) => ({ path: `/${i}`, host: 'payments' })),
    )
  })
})

describe('a handler over HTTP/2', () => {
  it('learns that its caller reset the stream, and of nothing when it answered', async () => {
    const aborted: boolean[] = []
    let began = () => undefined as unknown
    const { port } = await start((req, res) => {
      const signal = getAbortSignal(res)
      res.once('close', () => aborted.push(signal.aborted))
      if (req.url === '/hang') began()
      else res.end('ok')
    }, 'DISABLE')
    const http = await session(port, false)
    expect(await get(http, '/')).toContain('ok')
    const reached = new Promise<void>((resolve) => {
      began = resolve
    })
    const stream = http.request({ ':path': '/hang', ':authority': 'payments' })
    stream.on('error', () => undefined)
    await reached
    stream.close(8)
    await expect.poll(() => aborted).toEqual([false, true])
  })
})
