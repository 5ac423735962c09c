import { request } from 'node:http'
import { afterEach, describe, expect, it } from 'vitest'
import type { ExplainRequest, Explanation } from '../engine/explain/explanation.ts'
import { InmeshError } from '../errors.ts'
import { type AdminServer, type AdminSources, startAdminServer } from './admin-server.ts'

const nothing: Explanation = {
  ...{ method: 'GET', authority: 'a', path: '/', outcome: 'not-configured', summary: 'nothing is known of a' },
  ...{ routeTable: null, virtualHost: null, rules: [], destinations: [], notes: [] },
}

const open: AdminServer[] = []
afterEach(async () => {
  for (const server of open.splice(0)) await server.close()
})

async function start(sources: Partial<AdminSources> = {}): Promise<AdminServer> {
  const server = await startAdminServer(0, {
    waitingFor: () => [],
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', body: 'up 1\n' }),
    configDump: () => ({}),
    explain: () => nothing,
    ...sources,
  })
  open.push(server)
  return server
}

function ask(port: number, path: string, options: { method?: string; host?: string } = {}) {
  return new Promise<{ status: number; body: string; type: string }>((resolve, reject) => {
    const headers = options.host === undefined ? {} : { host: options.host }
    const req = request({ host: '127.0.0.1', port, path, method: options.method ?? 'GET', headers }, (res) => {
      let body = ''
      res.setEncoding('utf8').on('data', (text) => {
        body += text
      })
      res.on('end', () => resolve({ status: res.statusCode!, body, type: res.headers['content-type']! }))
    })
    req.on('error', reject).end()
  })
}

describe('the admin port', () => {
  it('says what a process that is not ready waits for', async () => {
    let waitingFor: string[] = ['certificate', 'snapshot']
    const { port } = await start({ waitingFor: () => waitingFor })
    expect(await ask(port, '/ready')).toMatchObject({
      status: 503,
      body: '{"ready":false,"waitingFor":["certificate","snapshot"]}\n',
    })
    waitingFor = []
    expect(await ask(port, '/ready')).toMatchObject({ status: 200, body: '{"ready":true,"waitingFor":[]}\n' })
  })

  it('serves metrics with the content type of the exposition', async () => {
    const { port } = await start()
    expect(await ask(port, '/metrics?x=1')).toEqual({ status: 200, body: 'up 1\n', type: 'text/plain; version=0.0.4' })
  })

  it('dumps the configuration without its secrets', async () => {
    const { port } = await start({
      configDump: () => ({ token: 'inmesh1.abc.def', clusters: new Map([['a', { n: 1 }]]) }),
    })
    const { body } = await ask(port, '/config_dump')
    expect(JSON.parse(body)).toEqual({ token: '[redacted]', clusters: { a: { n: 1 } } })
  })

  it('explains a request, as text or as JSON', async () => {
    const asked: ExplainRequest[] = []
    const { port } = await start({
      explain: (request) => {
        asked.push(request)
        return nothing
      },
    })
    const query = new URLSearchParams({ url: 'http://a/b?c=1', method: 'POST' })
    for (const line of ['X-User: beta', 'x-user:two', '__proto__: x']) query.append('header', line)
    expect(await ask(port, `/explain?${query}`)).toMatchObject({
      status: 200,
      body: expect.stringContaining('GET http://a/'),
    })
    expect(asked[0]).toMatchObject({ url: 'http://a/b?c=1', method: 'POST', headers: { 'x-user': 'beta,two' } })
    expect(JSON.parse((await ask(port, '/explain?url=http://a/&format=json')).body)).toEqual(nothing)
    for (const bad of ['/explain', '/explain?url=payments', '/explain?url=http://a/&header=x'])
      expect((await ask(port, bad)).status).toBe(400)
  })

  it('refuses names that merely resolve to loopback', async () => {
    const { port } = await start()
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1.evil.example', 'localhost.evil.example'])
      expect((await ask(port, '/metrics', { host })).status).toBe(403)
    for (const host of ['localhost', `127.0.0.1:${port}`, '[::1]:1'])
      expect((await ask(port, '/metrics', { host })).status).toBe(200)
  })

  it('changes nothing and knows no other path', async () => {
    const { port } = await start()
    expect((await ask(port, '/ready', { method: 'POST' })).status).toBe(405)
    expect((await ask(port, '/')).status).toBe(404)
  })

  it('answers 500 with the reason when a source fails, and lives on', async () => {
    const { port } = await start({ metrics: () => Promise.reject(new Error('no numbers today')) })
    expect(await ask(port, '/metrics')).toMatchObject({ status: 500, body: 'no numbers today\n' })
    expect((await ask(port, '/ready')).status).toBe(200)
  })

  it('says in one line that its port is taken', async () => {
    const { port } = await start()
    const error = await startAdminServer(port, {
      waitingFor: () => [],
      metrics: async () => ({ contentType: '', body: '' }),
      configDump: () => 0,
      explain: () => nothing,
    }).catch((e: unknown) => e)
    expect(error).toBeInstanceOf(InmeshError)
    expect((error as Error).message).toBe(
      `admin port 127.0.0.1:${port} is in use: choose another by adminPort or INMESH_ADMIN_PORT`,
    )
  })
})
