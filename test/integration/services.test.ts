import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttp } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  createMesh,
  defineMesh,
  destinationRule,
  type Mesh,
  meshConfig,
  serviceEntry,
  silentLogger,
} from '../../src/index.ts'
import { createTestCa } from '../support/test-ca.ts'

// Services outside the mesh, with a control plane inside this process: real names, real TLS.

const ca = createTestCa('public.example')
const folder = mkdtempSync(join(tmpdir(), 'inmesh-services-'))
const seen: string[] = []
const servers: Server[] = []
let mesh: Mesh

async function listen(server: Server): Promise<number> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

beforeAll(async () => {
  const leaf = ca.issue('', { uris: [], dns: ['secure.example'] })
  const secure = createHttps({ cert: leaf.certPem, key: leaf.keyPem }, (req, res) => {
    seen.push(`${(req.socket as TLSSocket).servername} ${req.headers.host} ${req.url}`)
    res.end('secure')
  })
  const plain = createHttp((_req, res) => res.end('plain'))
  const securePort = await listen(secure)
  const plainPort = await listen(plain)
  const caFile = join(folder, 'ca.pem')
  writeFileSync(caFile, ca.rootPem)
  const http = (targetPort: number) => [{ number: 80, name: 'http', protocol: 'HTTP', targetPort }]
  const definition = defineMesh({
    resources: [
      meshConfig({ outboundTrafficPolicy: { mode: 'REGISTRY_ONLY' } }),
      serviceEntry('tls', {
        hosts: ['secure.example'],
        ports: http(securePort),
        resolution: 'DNS',
        endpoints: [{ address: 'localhost' }],
      }),
      destinationRule('tls', {
        host: 'secure.example',
        trafficPolicy: { tls: { mode: 'SIMPLE', caCertificates: caFile } },
      }),
      serviceEntry('untrusted', {
        hosts: ['untrusted.example'],
        ports: http(securePort),
        resolution: 'DNS',
        endpoints: [{ address: 'localhost' }],
      }),
      destinationRule('untrusted', { host: 'untrusted.example', trafficPolicy: { tls: { mode: 'SIMPLE' } } }),
      serviceEntry('static', {
        hosts: ['static.example'],
        ports: http(plainPort),
        resolution: 'STATIC',
        endpoints: [{ address: '127.0.0.1' }],
      }),
      serviceEntry('round-robin', { hosts: ['127.0.0.1'], ports: http(plainPort), resolution: 'DNS_ROUND_ROBIN' }),
    ],
  })
  mesh = await createMesh({
    service: 'orders',
    controlPlane: { embedded: definition },
    stateDir: join(folder, 'state'),
    logger: silentLogger,
  })
})
afterAll(async () => {
  await mesh.close()
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true })
})

const get = async (url: string) => {
  const response = await mesh.fetch(url)
  return `${response.status} ${(await response.text()).trim()}`
}

describe('a service outside the mesh', () => {
  it('is called over TLS where a rule says so, though the app says http', async () => {
    expect(await get('http://secure.example/pay?x=1')).toBe('200 secure')
    expect(seen).toEqual(['secure.example secure.example /pay?x=1'])
  })

  it('whose certificate nobody trusts gets nothing', async () => {
    const response = await mesh.fetch('http://untrusted.example/')
    expect([response.status, response.headers.get('x-inmesh-response-flags')]).toEqual([503, 'UF,URX'])
    expect(seen.length).toBe(1)
  })

  it('is called at its addresses, or at what its name says now', async () => {
    expect(await get('http://static.example/')).toBe('200 plain')
    expect(await get('http://127.0.0.1/')).toBe('200 plain')
  })

  it('that nobody declared is refused under REGISTRY_ONLY, as is another port of a declared one', async () => {
    expect(await get('http://elsewhere.example/')).toMatch(/^502 /)
    expect(await get('http://static.example:81/')).toMatch(/^502 /)
  })

  it('is explained with its endpoints and its TLS', async () => {
    await get('http://secure.example/')
    const [destination] = mesh.explain({ url: 'http://secure.example/' }).destinations
    expect(JSON.stringify(destination)).toContain('TLS')
    expect(JSON.stringify(destination)).toContain('127.0.0.1')
  })
})
