import { once } from 'node:events'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { type Answer, call, meshClient } from '../../test/support/mesh-client.ts'
import { createTestCa, type TestLeafOptions } from '../../test/support/test-ca.ts'
import type { EndpointSpec, ExternalTlsSpec } from '../model/cluster.ts'
import { externalTlsOptions, subjectAltNames } from './external-tls.ts'

const ca = createTestCa('public.example')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Service {
  port: number
  seen: { sni: string | false | null; client: string }[]
}

async function serve(leaf: TestLeafOptions, requestCert = false): Promise<Service> {
  const { certPem, keyPem } = ca.issue('', { uris: [], ...leaf })
  const service: Service = { port: 0, seen: [] }
  const server = createServer({ cert: certPem, key: keyPem, ca: [ca.rootPem], requestCert }, (req, res) => {
    const socket = req.socket as TLSSocket
    service.seen.push({ sni: socket.servername ?? null, client: socket.getPeerCertificate().subjectaltname ?? '' })
    res.end(req.headers.host)
  })
  server.on('tlsClientError', () => undefined)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.close()
    server.closeAllConnections()
  })
  service.port = (server.address() as AddressInfo).port
  return service
}

function ask(service: Service, tls: Partial<ExternalTlsSpec>, hostname = 'api.example'): Promise<Answer> {
  const external: ExternalTlsSpec = {
    sni: '',
    ca: { kind: 'inline', pem: ca.rootPem },
    subjectAltNames: [],
    insecureSkipVerify: false,
    client: null,
    alpn: [],
    ...tls,
  }
  const mesh = meshClient({
    'api.example': {
      endpoints: [{ port: service.port, hostname }],
      cluster: { tls: { mode: 'external', allowedIds: [], external } },
    },
  })
  closing.push(() => mesh.close())
  return call(mesh.dispatcher, 'http://api.example/x')
}

const api: TestLeafOptions = { dns: ['api.example'] }

describe('a service outside the mesh', () => {
  it('is called over TLS, by its own name', async () => {
    const service = await serve(api)
    expect(await ask(service, {})).toMatchObject({ status: 200, text: 'api.example' })
    expect(service.seen).toEqual([{ sni: 'api.example', client: '' }])
  })

  it('by the name that a rule gives it, which its certificate must have', async () => {
    const service = await serve({ dns: ['*.other.example'] })
    expect((await ask(service, { sni: 'x.other.example' })).status).toBe(200)
    const refused = await ask(service, {})
    expect([refused.status, refused.headers['x-inmesh-response-flags']]).toEqual([503, 'UF'])
    expect(refused.headers['x-inmesh-response-details']).toContain('ERR_TLS_CERT_ALTNAME_INVALID')
    expect(service.seen.length).toBe(1)
  })

  it('is not believed when somebody else signed its certificate, unless nobody is to look', async () => {
    const service = await serve(api)
    const stranger = { kind: 'inline', pem: createTestCa('else').rootPem } as const
    expect((await ask(service, { ca: stranger })).status).toBe(503)
    expect((await ask(service, { ca: null })).status).toBe(503)
    expect(service.seen.length).toBe(0)
    expect((await ask(service, { ca: stranger, insecureSkipVerify: true })).status).toBe(200)
  })

  it('must have one of the subject alternative names that a rule lists', async () => {
    const service = await serve({ dns: ['api.example', '*.wild.example'], uris: ['spiffe://else/ns/a/sa/b'] })
    const with_ = async (kind: 'exact' | 'prefix' | 'suffix', ...values: string[]) =>
      (await ask(service, { subjectAltNames: values.map((value) => ({ kind, value, ignoreCase: false })) })).status
    expect(await with_('exact', 'nobody', 'spiffe://else/ns/a/sa/b')).toBe(200)
    expect(await with_('prefix', 'spiffe://else/')).toBe(200)
    expect(await with_('exact', 'x.wild.example')).toBe(200)
    expect(await with_('exact', 'x.y.wild.example')).toBe(503)
    expect(await with_('exact', 'api.example.org')).toBe(503)
  })

  it('by an address needs a certificate for that address', async () => {
    expect((await ask(await serve({ ips: ['127.0.0.1'] }), {}, '')).status).toBe(200)
    const named = await serve(api)
    expect((await ask(named, {}, '')).status).toBe(503)
    expect((await ask(named, { insecureSkipVerify: true }, '')).status).toBe(200)
    expect(named.seen[0]!.sni).toBe(false)
  })

  it('is shown our certificate where it is MUTUAL, from files that may be renewed', async () => {
    const service = await serve(api, true)
    const folder = mkdtempSync(join(tmpdir(), 'inmesh-tls-'))
    closing.push(() => rmSync(folder, { recursive: true }))
    const write = (name: string) => {
      const leaf = ca.issue('', { uris: [], dns: [name] })
      writeFileSync(join(folder, 'cert.pem'), leaf.certPem)
      writeFileSync(join(folder, 'key.pem'), leaf.keyPem)
    }
    const file = (name: string) => ({ kind: 'file', path: join(folder, name) }) as const
    const client = { certificate: file('cert.pem'), key: file('key.pem') }
    write('one.example')
    expect((await ask(service, { client })).status).toBe(200)
    write('two.example')
    expect((await ask(service, { client })).status).toBe(200)
    expect(service.seen.map((s) => s.client)).toEqual(['DNS:one.example', 'DNS:two.example'])
    const missing = await ask(service, { client: { ...client, key: file('gone.pem') } })
    expect(missing.status).toBe(503)
    expect(missing.text).toContain('gone.pem')
    expect(service.seen.length).toBe(2)
  })

  it('is never called in plaintext, not even where it would be understood', async () => {
    const service = await serve(api)
    const plain = await ask({ ...service, port: service.port }, { ca: { kind: 'inline', pem: 'nonsense' } })
    expect(plain.status).toBe(503)
    expect(service.seen.length).toBe(0)
  })
})

it('goes on with the files of before while they are half renewed', () => {
  const folder = mkdtempSync(join(tmpdir(), 'inmesh-tls-'))
  closing.push(() => rmSync(folder, { recursive: true }))
  const [chain, key] = [join(folder, 'chain'), join(folder, 'key')]
  let stamp = 1_000
  const write = (path: string, text: string) => {
    writeFileSync(path, text)
    utimesSync(path, stamp, stamp)
    stamp += 1_000
  }
  const [first, renewed] = [ca.issue('spiffe://a/b'), ca.issue('spiffe://a/b')]
  write(chain, first.certPem)
  write(key, first.keyPem)
  const spec: ExternalTlsSpec = {
    sni: '',
    ca: { kind: 'inline', pem: ca.rootPem },
    subjectAltNames: [],
    insecureSkipVerify: false,
    client: { certificate: { kind: 'file', path: chain }, key: { kind: 'file', path: key } },
    alpn: [],
  }
  const endpoint = { address: '127.0.0.1', hostname: 'a' } as EndpointSpec
  const context = () => externalTlsOptions(spec, endpoint, []).secureContext
  const before = context()
  write(chain, renewed.certPem)
  expect(context()).toBe(before)
  write(key, renewed.keyPem)
  expect(context()).not.toBe(before)
})

it('reads subject alternative names, quoted ones too', () => {
  expect(subjectAltNames('DNS:a.example, URI:spiffe://x/y, IP Address:10.0.0.1, email:me@x')).toEqual([
    'a.example',
    'spiffe://x/y',
    '10.0.0.1',
    'me@x',
  ])
  expect(subjectAltNames('DNS:"a, DNS:b", DNS:c')).toEqual(['a, DNS:b', 'c'])
  expect(subjectAltNames('')).toEqual([])
})
