import { AsyncLocalStorage } from 'node:async_hooks'
import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import { PassThrough, Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { Agent, type Dispatcher, errors, FormData, fetch as undiciFetch } from 'undici'
import { afterEach, describe, expect, it } from 'vitest'
import { call, meshClient, type ServiceSpec, snapshotOf, type TestClient } from '../../test/support/mesh-client.ts'
import { until } from '../../test/support/mesh-http.ts'
import type { CallEvents } from '../engine/events.ts'
import { emptySnapshot } from '../model/snapshot.ts'
import { meshFetch } from './fetch/fetch.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function serve(listener: RequestListener): Promise<{ port: number; server: Server }> {
  const server = createServer(listener)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  return { port: (server.address() as { port: number }).port, server }
}

function client(...args: Parameters<typeof meshClient>): TestClient {
  const made = meshClient(...args)
  closing.push(() => made.close())
  return made
}

async function clientOf(listener: RequestListener, service: Partial<ServiceSpec> = {}): Promise<TestClient> {
  const { port } = await serve(listener)
  return client({ payments: { endpoints: [port], ...service } })
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of req) text += chunk
  return text
}

const echo: RequestListener = async (req, res) => {
  const body = await bodyOf(req)
  res.end(JSON.stringify({ method: req.method, url: req.url, headers: req.headers, body }))
}

describe('calls through the mesh', () => {
  it('reach the service that they name, however they are made', async () => {
    const { dispatcher } = await clientOf(echo)
    const viaRequest = JSON.parse((await call(dispatcher, 'http://payments/a?b=c')).text)
    expect(viaRequest).toMatchObject({ method: 'GET', url: '/a?b=c', headers: { host: 'payments' } })
    const viaFetch = await meshFetch(dispatcher)('http://payments/f', { method: 'POST', body: 'hello' })
    expect(await viaFetch.json()).toMatchObject({ method: 'POST', body: 'hello' })
    const chunks: string[] = []
    await dispatcher.stream(
      { origin: 'http://payments', path: '/s', method: 'GET' },
      () =>
        new Writable({
          write(chunk, _encoding, done) {
            chunks.push(String(chunk))
            done()
          },
        }),
    )
    expect(JSON.parse(chunks.join(''))).toMatchObject({ url: '/s' })
    const pipeline = dispatcher.pipeline({ origin: 'http://payments', path: '/p', method: 'PUT' }, ({ body }) => body)
    pipeline.end('piped')
    expect(JSON.parse(await bodyOf(pipeline as unknown as IncomingMessage))).toMatchObject({
      method: 'PUT',
      body: 'piped',
    })
  })

  it("work with Node's own fetch, whose undici is older", async () => {
    const { dispatcher } = await clientOf(echo)
    const options = { method: 'POST', body: 'hello', dispatcher } as unknown as RequestInit
    const response = await fetch('http://payments/f', options)
    expect(await response.json()).toMatchObject({ method: 'POST', body: 'hello', headers: { host: 'payments' } })
    const refused = await fetch('http://nobody/', {
      dispatcher: client({}, { holdTimeoutMs: 10 }).dispatcher,
    } as unknown as RequestInit)
    expect(refused.status).toBe(503)
    expect(refused.headers.get('x-inmesh-response-details')).toBe('configuration_timeout')
    expect(await refused.text()).toContain('did not arrive')
  })

  it('take every shape of body and headers that undici takes', async () => {
    const { dispatcher } = await clientOf(echo)
    const post = async (options: Partial<Dispatcher.RequestOptions>) =>
      JSON.parse((await call(dispatcher, 'http://payments/', { method: 'POST', ...options })).text)
    expect(await post({ body: 'text' })).toMatchObject({ body: 'text', headers: { 'content-length': '4' } })
    expect(await post({ body: Buffer.from('buffer') })).toMatchObject({ body: 'buffer' })
    expect(await post({ body: new Uint8Array([97, 98]) })).toMatchObject({ body: 'ab' })
    expect(await post({ body: Readable.from(['s', 't', 'r']) })).toMatchObject({
      body: 'str',
      headers: { 'transfer-encoding': 'chunked' },
    })
    const form = new FormData()
    form.set('field', 'value')
    expect((await post({ body: form })).headers['content-type']).toMatch(/^multipart\/form-data/)
    for (const headers of [{ 'X-A': '1' }, ['X-A', '1'], new Map([['X-A', '1']]), new Headers({ 'X-A': '1' })])
      expect((await post({ headers: headers as Record<string, string> })).headers['x-a']).toBe('1')
    const queried = await call(dispatcher, 'http://payments/', { query: { a: 1, b: 'x y' } })
    expect(JSON.parse(queried.text).url).toBe('/?a=1&b=x%20y')
  })

  it('do not carry what is hop by hop or the mesh own', async () => {
    const { dispatcher } = await clientOf(echo)
    const headers = {
      connection: 'close, x-listed',
      'keep-alive': '5',
      'x-listed': '1',
      expect: '100-continue',
      te: 'trailers, deflate',
      upgrade: 'h2c',
      'transfer-encoding': 'chunked',
      'proxy-authorization': 'secret',
      'X-Envoy-Retry-On': '5xx',
      'x-inmesh-not-started': '1',
      'x-forwarded-client-cert': 'admin',
      'x-kept': '1',
    }
    const seen = JSON.parse((await call(dispatcher, 'http://payments/', { headers })).text).headers
    const own = ['x-envoy-expected-rq-timeout-ms']
    expect(Object.keys(seen).sort()).toEqual(['connection', 'host', 'te', ...own, 'x-kept'])
    expect(seen).toMatchObject({ te: 'trailers', connection: 'keep-alive' })
  })

  it('keep a Host header of the caller', async () => {
    const { dispatcher } = await clientOf(echo)
    const seen = JSON.parse((await call(dispatcher, 'http://payments/', { headers: { Host: 'other.example' } })).text)
    expect(seen.headers.host).toBe('other.example')
  })

  it('fail as undici does when the caller asks for the impossible, and nothing else suffers', async () => {
    const { dispatcher } = await clientOf(echo)
    await call(dispatcher, 'http://payments/')
    await expect(call(dispatcher, 'http://payments/', { headers: { 'bad name': 'x' } })).rejects.toBeInstanceOf(
      errors.InvalidArgumentError,
    )
    await expect(call(dispatcher, 'http://payments/', { method: 'B AD' as 'GET' })).rejects.toBeInstanceOf(
      errors.InvalidArgumentError,
    )
    await expect(
      call(dispatcher, 'http://payments/', { method: 'POST', body: 'abc', headers: { 'content-length': '7' } }),
    ).rejects.toBeInstanceOf(errors.RequestContentLengthMismatchError)
    expect((await call(dispatcher, 'http://payments/')).status).toBe(200)
  })

  it('bring trailers', async () => {
    const { dispatcher } = await clientOf((_req, res) => {
      res.writeHead(200, { trailer: 'x-sum' })
      res.write('body')
      res.addTrailers({ 'x-sum': '42' })
      res.end()
    })
    const response = await dispatcher.request({ origin: 'http://payments', path: '/', method: 'GET' })
    expect(await response.body.text()).toBe('body')
    expect(response.trailers).toEqual({ 'x-sum': '42' })
  })

  it('are not confused by informational answers', async () => {
    const { dispatcher } = await clientOf((_req, res) => {
      res.writeProcessing()
      res.writeEarlyHints({ link: '</a.css>; rel=preload' })
      res.end('final')
    })
    expect(await call(dispatcher, 'http://payments/')).toMatchObject({ status: 200, text: 'final' })
  })

  it('upgrade', async () => {
    const { port, server } = await serve(echo)
    server.on('upgrade', (_req, socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n\r\n')
      socket.pipe(socket)
    })
    const { dispatcher } = client({ payments: { endpoints: [port] } })
    const { socket, headers } = await dispatcher.upgrade({
      origin: 'http://payments',
      path: '/',
      protocol: 'echo',
    } as Dispatcher.UpgradeOptions)
    expect(headers.upgrade).toBe('echo')
    socket.write('ping')
    expect(String((await once(socket, 'data'))[0])).toBe('ping')
    socket.destroy()
    await expect(
      client({}, { holdTimeoutMs: 10 }).dispatcher.upgrade({
        origin: 'http://nobody',
        path: '/',
        protocol: 'echo',
      } as Dispatcher.UpgradeOptions),
    ).rejects.toThrow('bad upgrade')
  })

  it('spread over the endpoints', async () => {
    const seen = new Map<number, number>()
    const ports = await Promise.all(
      [0, 1, 2].map(
        async (n) => (await serve((_req, res) => res.end(String(seen.set(n, (seen.get(n) ?? 0) + 1))))).port,
      ),
    )
    const { dispatcher } = client({ payments: { endpoints: ports } })
    for (let i = 0; i < 30; i++) await call(dispatcher, 'http://payments/')
    expect([...seen.values()]).toEqual([10, 10, 10])
  })

  it('one after the other share a connection, and many at once open no more than they need', async () => {
    const { port, server } = await serve((_req, res) => void setTimeout(() => res.end('ok'), 5))
    let connections = 0
    server.on('connection', () => connections++)
    const { dispatcher } = client({ payments: { endpoints: [port] } })
    for (let i = 0; i < 10; i++) await call(dispatcher, 'http://payments/')
    expect(connections).toBe(1)
    await Promise.all(Array.from({ length: 10 }, () => call(dispatcher, 'http://payments/')))
    expect(connections).toBe(10)
  })
})

describe('configuration that is not there yet', () => {
  it('is asked for once, and calls wait for it', async () => {
    const { port } = await serve(echo)
    const { dispatcher, wanted, apply } = client({})
    const calls = [
      call(dispatcher, 'http://Payments/'),
      call(dispatcher, 'http://payments/'),
      call(dispatcher, 'http://orders:81/'),
    ]
    expect(wanted).toEqual(['payments', 'orders:81'])
    apply({ payments: { endpoints: [port] } })
    expect((await calls[0]!).status).toBe(200)
    expect((await calls[1]!).status).toBe(200)
    apply({ 'orders:81': { endpoints: [port] } })
    expect((await calls[2]!).status).toBe(200)
  })

  it('answers 503 with the reason when it does not come', async () => {
    const { dispatcher } = client({}, { holdTimeoutMs: 20 })
    const begin = performance.now()
    const answer = await call(dispatcher, 'http://payments/')
    expect(performance.now() - begin).toBeGreaterThan(15)
    expect(answer.status).toBe(503)
    expect(answer.headers).toMatchObject({
      'x-inmesh-response-flags': 'NC',
      'x-inmesh-response-details': 'configuration_timeout',
    })
  })

  it('can be given up waiting for', async () => {
    const { dispatcher } = client({})
    const signal = new EventEmitter()
    const waiting = call(dispatcher, 'http://payments/', { signal })
    signal.emit('abort')
    await expect(waiting).rejects.toBeInstanceOf(errors.RequestAbortedError)
  })

  it('that says "not in the mesh" refuses calls, or lets them out where that was asked for', async () => {
    const { port } = await serve(echo)
    const absent = { absent: new Set([`127.0.0.1:${port}`]) }
    const plain = new Agent()
    closing.push(() => plain.close())
    const open = client({}, { passthrough: plain, dialAbsent: true })
    const before = call(open.dispatcher, `http://127.0.0.1:${port}/x`, {
      method: 'POST',
      body: Readable.from(['a', 'b']),
    })
    open.apply({}, absent)
    expect(JSON.parse((await before).text)).toMatchObject({ url: '/x', body: 'ab' })
    expect((await call(open.dispatcher, `http://127.0.0.1:${port}/y`)).status).toBe(200)
    const shut = client({}, { passthrough: plain })
    const waiting = call(shut.dispatcher, `http://127.0.0.1:${port}/`)
    shut.apply({}, absent)
    expect(await call(shut.dispatcher, `http://127.0.0.1:${port}/`)).toMatchObject({ status: 502 })
    expect((await waiting).status).toBe(502)
  })

  it('of a route out of the mesh passes on, aborts included', async () => {
    const { port } = await serve((req, res) => (req.url === '/hang' ? undefined : res.end('direct')))
    const plain = new Agent()
    closing.push(() => plain.close())
    const { dispatcher } = client(
      { [`127.0.0.1:${port}`]: { endpoints: [], cluster: { kind: 'passthrough' } } },
      { passthrough: plain },
    )
    expect((await call(dispatcher, `http://127.0.0.1:${port}/`)).text).toBe('direct')
    const signal = new EventEmitter()
    const hanging = call(dispatcher, `http://127.0.0.1:${port}/hang`, { signal })
    await sleep(20)
    signal.emit('abort')
    await expect(hanging).rejects.toBeInstanceOf(errors.RequestAbortedError)
  })

  it('of a direct response is answered here', async () => {
    const { dispatcher } = client({
      payments: { endpoints: [], route: { action: { kind: 'direct', status: 418, body: 'short and stout' } } },
    })
    expect(await call(dispatcher, 'http://payments/')).toMatchObject({ status: 418, text: 'short and stout' })
    const head = await call(dispatcher, 'http://payments/', { method: 'HEAD' })
    expect(head).toMatchObject({ status: 418, text: '' })
  })

  it('does not concern https, which the app encrypts itself', async () => {
    const seen: string[] = []
    const plain = {
      dispatch(options: Dispatcher.DispatchOptions) {
        seen.push(String(options.origin))
        return true
      },
    }
    const { dispatcher, wanted } = client({}, { passthrough: plain as unknown as Dispatcher })
    dispatcher.dispatch(
      { origin: 'https://payments', path: '/', method: 'GET' },
      { onRequestStart() {}, onResponseError() {} },
    )
    expect([seen, wanted]).toEqual([['https://payments'], []])
  })
})

describe('a call that the mesh refuses', () => {
  it('is a real answer with flags and details: no healthy host', async () => {
    const { dispatcher } = client({ payments: { endpoints: [] } })
    const response = await undiciFetch('http://payments/', { dispatcher })
    expect(response.status).toBe(503)
    expect(response.headers.get('x-inmesh-response-flags')).toBe('UH')
    expect(response.headers.get('content-type')).toContain('text/plain')
    expect(await response.text()).toContain('no healthy upstream')
  })

  it('cannot be mistaken for the answer of a peer', async () => {
    const { dispatcher } = await clientOf((_req, res) => {
      res.writeHead(503, { 'X-Inmesh-Response-Flags': 'UH', 'x-inmesh-response-details': 'lies', 'x-other': '1' }).end()
    })
    const answer = await call(dispatcher, 'http://payments/')
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('x-'))).toEqual(['x-other'])
    const fetched = await undiciFetch('http://payments/', { dispatcher })
    expect([...fetched.headers.keys()].filter((name) => name.startsWith('x-'))).toEqual(['x-other'])
  })

  it('because too many wait for a connection says overflow, at once', async () => {
    const waiting: ServerResponse[] = []
    const { port } = await serve((_req, res) => void waiting.push(res))
    const { dispatcher } = client({
      payments: { endpoints: [port], limits: { maxConnections: 1, maxPendingRequests: 2 } },
    })
    const first = call(dispatcher, 'http://payments/')
    await until(() => waiting.length === 1)
    const queued = [call(dispatcher, 'http://payments/'), call(dispatcher, 'http://payments/')]
    const refused = await call(dispatcher, 'http://payments/')
    expect(refused).toMatchObject({ status: 503 })
    expect(refused.headers['x-inmesh-response-flags']).toBe('UO')
    expect(refused.headers['x-envoy-overloaded']).toBe('true')
    for (let i = 0; i < 3; i++) {
      await until(() => waiting.length === i + 1)
      waiting[i]!.end('ok')
    }
    for (const answer of [first, ...queued]) expect((await answer).status).toBe(200)
  })
})

describe('a caller that gives up', () => {
  it('while the request is under way: the connection goes, the server learns of it', async () => {
    let closed = 0
    const { dispatcher } = await clientOf((_req, res) => void res.on('close', () => closed++))
    const abort = new AbortController()
    const going = undiciFetch('http://payments/', { dispatcher, signal: abort.signal })
    await sleep(30)
    abort.abort()
    await expect(going).rejects.toThrow('abort')
    await until(() => closed === 1)
  })

  it('before it began, is heard', async () => {
    let seen = 0
    const { dispatcher } = await clientOf((_req, res) => res.end(String(seen++)))
    await expect(undiciFetch('http://payments/', { dispatcher, signal: AbortSignal.abort() })).rejects.toThrow('abort')
    expect(seen).toBe(0)
  })

  it('while it waits for a connection: leaves the queue without a trace', async () => {
    const waiting: ServerResponse[] = []
    const { port } = await serve((_req, res) => void waiting.push(res))
    const { dispatcher } = client({
      payments: { endpoints: [port], limits: { maxConnections: 1, maxPendingRequests: 1 } },
    })
    const first = call(dispatcher, 'http://payments/')
    await until(() => waiting.length === 1)
    const signal = new EventEmitter()
    const queued = call(dispatcher, 'http://payments/', { signal })
    signal.emit('abort')
    await expect(queued).rejects.toBeInstanceOf(errors.RequestAbortedError)
    const third = call(dispatcher, 'http://payments/')
    waiting[0]!.end()
    expect((await first).status).toBe(200)
    await until(() => waiting.length === 2)
    waiting[1]!.end()
    expect((await third).status).toBe(200)
  })

  it('during a back-off, ends it', async () => {
    let seen = 0
    const { dispatcher } = await clientOf(
      (_req, res) => {
        seen++
        res.writeHead(503).end()
      },
      {
        retry: { statusCodes: [503], baseIntervalMs: 100_000, maxIntervalMs: 100_000 },
        route: { timeoutMs: Number.POSITIVE_INFINITY },
      },
    )
    const signal = new EventEmitter()
    const going = call(dispatcher, 'http://payments/', { signal })
    await until(() => seen === 1)
    await sleep(20)
    signal.emit('abort')
    await expect(going).rejects.toBeInstanceOf(errors.RequestAbortedError)
    expect(seen).toBe(1)
  })

  it('in the middle of the body, stops the server', async () => {
    let closed = 0
    const { dispatcher } = await clientOf((_req, res) => {
      res.on('close', () => closed++)
      res.write('a'.repeat(1_000))
    })
    const response = await dispatcher.request({ origin: 'http://payments', path: '/', method: 'GET' })
    await once(response.body, 'readable')
    response.body.on('error', () => undefined)
    response.body.destroy()
    await until(() => closed === 1)
  })

  it('gives back the source of its body', async () => {
    const { dispatcher } = await clientOf(() => undefined)
    const source = new PassThrough()
    source.on('error', () => undefined)
    source.write('x')
    const signal = new EventEmitter()
    const going = call(dispatcher, 'http://payments/', { method: 'POST', body: source, signal })
    await sleep(20)
    signal.emit('abort')
    await expect(going).rejects.toBeInstanceOf(errors.RequestAbortedError)
    await until(() => source.destroyed)
  })
})

describe('flow of bytes', () => {
  it('a reader that sleeps holds the server back', async () => {
    const total = 64 * 1024 * 1024
    let written = 0
    const { dispatcher } = await clientOf((_req, res) => {
      const chunk = Buffer.alloc(64 * 1024)
      Readable.from(
        (function* () {
          for (; written < total; written += chunk.length) yield chunk
        })(),
      ).pipe(res)
    })
    const response = await dispatcher.request({ origin: 'http://payments', path: '/', method: 'GET' })
    await once(response.body, 'readable')
    await sleep(300)
    expect(written).toBeLessThan(16 * 1024 * 1024)
    let read = 0
    for await (const chunk of response.body) read += chunk.length
    expect(read).toBe(total)
  })

  it('a server that does not read holds the body back', async () => {
    let pulled = 0
    let read: (() => unknown) | undefined
    const { dispatcher } = await clientOf((req, res) => {
      read = () => req.on('end', () => res.end('done')).resume()
    })
    const chunk = Buffer.alloc(64 * 1024)
    async function* body() {
      for (; pulled < 512; pulled++) yield chunk
    }
    const going = call(dispatcher, 'http://payments/', { method: 'POST', body: Readable.from(body()) })
    await until(() => read !== undefined)
    await sleep(200)
    expect(pulled).toBeLessThan(256)
    read!()
    expect((await going).text).toBe('done')
    expect(pulled).toBe(512)
  })

  it('a response that falls silent ends at the idle timeout; a sleeping reader is no silence', async () => {
    const { dispatcher } = await clientOf(
      (req, res) => {
        res.write('begin')
        if (req.url === '/slow-reader') setTimeout(() => res.end('end'), 10)
      },
      { cluster: { idleTimeoutMs: 100 } },
    )
    const silent = await dispatcher.request({ origin: 'http://payments', path: '/', method: 'GET' })
    const begin = performance.now()
    await expect(silent.body.text()).rejects.toBeInstanceOf(errors.BodyTimeoutError)
    expect(performance.now() - begin).toBeLessThan(10_000)
    expect(performance.now() - begin).toBeGreaterThan(80)
  })
})

describe('the end of a dispatcher', () => {
  it('close waits for what is under way and takes nothing new', async () => {
    const { dispatcher } = await clientOf((_req, res) => void setTimeout(() => res.end('ok'), 50))
    const going = call(dispatcher, 'http://payments/')
    const closed = dispatcher.close()
    await expect(call(dispatcher, 'http://payments/')).rejects.toBeInstanceOf(errors.ClientClosedError)
    expect((await going).status).toBe(200)
    await closed
  })

  it('destroy fails what is under way, whatever it waits for', async () => {
    const { port } = await serve(() => undefined)
    const { dispatcher } = client({ payments: { endpoints: [port] } })
    const calls = [call(dispatcher, 'http://payments/'), call(dispatcher, 'http://unknown/')]
    const outcomes = Promise.allSettled(calls)
    await sleep(20)
    await dispatcher.destroy(new Error('the end'))
    for (const outcome of await outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'the end' } })
    await expect(call(dispatcher, 'http://payments/')).rejects.toBeInstanceOf(errors.ClientDestroyedError)
  })

  it('leaves no timers and no connections behind', async () => {
    const { port, server } = await serve(echo)
    const made = meshClient({ payments: { endpoints: [port], retry: { perTryTimeoutMs: 1_000 } } })
    await Promise.all(Array.from({ length: 20 }, () => call(made.dispatcher, 'http://payments/')))
    await made.dispatcher.close()
    expect(made.engine.wheel.size).toBe(0)
    await until(() => {
      let open = 0
      server.getConnections((_error, count) => {
        open = count
      })
      return open === 0
    })
    await made.close()
  })
})

describe('snapshots', () => {
  it('without the listener make calls wait again', async () => {
    const { port } = await serve(echo)
    const { dispatcher, engine, wanted } = client({ payments: { endpoints: [port] } })
    engine.apply(emptySnapshot)
    const waiting = call(dispatcher, 'http://payments/')
    expect(wanted).toEqual(['payments'])
    engine.apply(snapshotOf({ payments: { endpoints: [port] } }))
    expect((await waiting).status).toBe(200)
  })

  it('and code of the app are heeded by the next call to an origin that was called before', async () => {
    const { port } = await serve(echo)
    const { dispatcher, engine } = client({ payments: { endpoints: [port] } })
    const said = async () => JSON.parse((await call(dispatcher, 'http://payments/')).text)
    expect((await said()).headers['x-app']).toBeUndefined()
    const remove = engine.use({
      name: 'app',
      onRequest(request) {
        request.setHeader('x-app', '1')
        return undefined
      },
    })
    expect((await said()).headers['x-app']).toBe('1')
    remove()
    expect((await said()).headers['x-app']).toBeUndefined()
    const action = { kind: 'direct', status: 418, body: '{}' } as const
    engine.apply(snapshotOf({ payments: { endpoints: [port], route: { action } } }))
    expect((await call(dispatcher, 'http://payments/')).status).toBe(418)
    engine.apply({ ...emptySnapshot, absent: new Set(['payments']) })
    expect((await call(dispatcher, 'http://payments/')).status).toBe(502)
  })

  it('let a call that waited go on in the context of whoever made it', async () => {
    const { port } = await serve(echo)
    const store = new AsyncLocalStorage<string>()
    const seen: (string | undefined)[] = []
    const events: CallEvents = {
      callStart: () => seen.push(store.getStore()),
      attemptStart() {},
      attemptEnd() {},
      callEnd() {},
    }
    const { dispatcher, engine } = client({}, { events })
    const waiting = [
      store.run('one', () => call(dispatcher, 'http://payments/')),
      store.run('two', () => call(dispatcher, 'http://payments/')),
    ]
    store.run('configuration', () => engine.apply(snapshotOf({ payments: { endpoints: [port] } })))
    await Promise.all(waiting)
    expect(seen).toEqual(['one', 'two'])
  })
})

describe('a chunked answer on a connection that is to be closed', () => {
  const head = 'HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n'
  const answering = async (rest: string) => {
    const server = createTcpServer((socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () => socket.end(head + rest))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    return client({ payments: { endpoints: [(server.address() as { port: number }).port] } })
  }

  it.each(['', '5\r\nhello\r\n', '5\r\nhel'])('is an error when it is cut off: %j', async (rest) => {
    const { dispatcher } = await answering(rest)
    await expect(call(dispatcher, 'http://payments/')).rejects.toThrow()
  })

  it('is whole with its last chunk', async () => {
    const { dispatcher } = await answering('5\r\nhello\r\n0\r\n\r\n')
    expect(await call(dispatcher, 'http://payments/')).toMatchObject({ status: 200, text: 'hello' })
  })
})
