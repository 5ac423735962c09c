import { once } from 'node:events'
import { connect } from 'node:net'
import {
  Metadata,
  Server,
  ServerCredentials,
  ServerInterceptingCall,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { type EchoClient, echo, echoService, kinds, plainEcho, secureEcho } from '../../../test/support/grpc-echo.ts'
import { openPort, type TestPort, type TestPortOptions } from '../../../test/support/grpc-port.ts'
import { identityOf, issueIdentity, rawExchange, spiffe, until } from '../../../test/support/mesh-http.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { IdentityState } from '../../identity/identity-state.ts'
import type { RbacPolicy, RbacSpec } from '../../model/inbound.ts'
import { Connections } from './connections.ts'
import { meshInterceptor } from './interceptor.ts'
import { getGrpcPeer } from './peer.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(options: Partial<TestPortOptions> = {}): Promise<TestPort> {
  const port = await openPort({ identity: identityOf(ca, 'payments'), ...options })
  closing.push(() => port.close())
  return port
}

function plain(port: TestPort): EchoClient {
  const client = plainEcho(port.number)
  closing.push(() => client.client.close())
  return client
}

function secure(port: TestPort, as = 'orders', from = ca): EchoClient {
  const client = secureEcho(port.number, from, as)
  closing.push(() => client.client.close())
  return client
}

const whoAmI = {
  unary: (call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) =>
    done(null, getGrpcPeer(call)?.spiffeId ?? 'nobody'),
}

describe.each([
  ['a server of the mesh', false],
  ['a server that was made without its interceptor', true],
])('%s', (_name, bare) => {
  it.each(kinds)('serves %s calls, over mutual TLS and over plaintext', async (kind) => {
    const port = await open({ bare, spec: { tlsMode: 'PERMISSIVE' } })
    for (const client of [secure(port), plain(port)]) {
      const answer = await client.ask(kind)
      expect([answer.code, answer.text]).toEqual([status.OK, 'hello'])
    }
  })

  it('knows who calls, by certificate and by nothing else', async () => {
    const port = await open({ bare, spec: { tlsMode: 'PERMISSIVE' }, handlers: whoAmI })
    const lie = { 'x-forwarded-client-cert': `URI=${spiffe(ca, 'admin')}` }
    expect((await secure(port).ask('unary', 'who', lie)).text).toBe(spiffe(ca, 'orders'))
    expect((await secure(port, 'web').ask('unary', 'who', lie)).text).toBe(spiffe(ca, 'web'))
    expect((await plain(port).ask('unary', 'who', lie)).text).toBe('nobody')
  })

  it.each(kinds)('refuses %s calls that policy denies before a handler hears of them', async (kind) => {
    let heard = 0
    const count = { [kind]: () => heard++ }
    const port = await open({ bare, handlers: count, spec: { rbac: [deny('none-shall-pass', [{ kind: 'any' }])] } })
    const answer = await plain(port).ask(kind)
    expect([answer.code, answer.details]).toEqual([status.PERMISSION_DENIED, 'RBAC: access denied'])
    expect(heard).toBe(0)
    expect(port.port.active).toBe(0)
  })
})

const deny = (
  name: string,
  permissions: RbacPolicy['permissions'],
  principals: RbacPolicy['principals'] = [],
): RbacSpec => ({
  filterName: name,
  action: 'DENY',
  policies: [{ name, permissions, principals: principals.length === 0 ? [{ kind: 'any' }] : principals }],
})
const exact = (value: string) => ({ kind: 'exact', value, ignoreCase: false }) as const

describe('a gRPC port', () => {
  it('STRICT: plaintext and strangers are cut', async () => {
    const port = await open({ spec: { tlsMode: 'STRICT' } })
    expect((await plain(port).ask('unary')).code).toBe(status.UNAVAILABLE)
    expect((await secure(port, 'orders', createTestCa('cluster.local')).ask('unary')).code).toBe(status.UNAVAILABLE)
    expect((await secure(port).ask('unary')).code).toBe(status.OK)
  })

  it('a connection that came in plaintext is judged by the mode of now', async () => {
    const port = await open({ spec: { tlsMode: 'PERMISSIVE' } })
    let connections = 0
    port.port.server.on('connection', (socket) => {
      connections++
      socket.on('close', () => connections--)
    })
    const client = plain(port)
    expect((await client.ask('unary')).code).toBe(status.OK)
    port.set({ tlsMode: 'STRICT' })
    const answer = await client.ask('unary')
    expect([answer.code, answer.details]).toEqual([status.PERMISSION_DENIED, 'mutual TLS required'])
    // And closed then, so that its client dials anew, by TLS if it can; this one cannot.
    await until(() => connections === 0)
    expect((await client.ask('unary')).code).toBe(status.UNAVAILABLE)
  })

  it('connections wait for policy and certificate, and no longer than they may', async () => {
    const identity = new IdentityState({ trustDomain: ca.trustDomain })
    identity.updateBundles(ca.bundles)
    const port = await open({ identity, spec: null, handlers: whoAmI })
    const answer = secure(port).ask('unary')
    port.set({ tlsMode: 'STRICT' })
    identity.update(issueIdentity(ca, 'payments'))
    expect((await answer).text).toBe(spiffe(ca, 'orders'))
    const never = await open({ spec: null, holdTimeoutMs: 30 })
    expect((await plain(never).ask('unary')).code).toBe(status.UNAVAILABLE)
  })

  it('calls over ports that are not the mesh’s are refused', async () => {
    const server = new Server({ interceptors: [meshInterceptor(new Connections())] })
    server.addService(echoService, echo)
    const number = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      ),
    )
    closing.push(() => server.forceShutdown())
    const client = plainEcho(number)
    closing.push(() => client.client.close())
    const answer = await client.ask('unary')
    expect(answer.code).toBe(status.UNAVAILABLE)
    expect(answer.details).toContain('must use mesh.grpc.listen()')
  })

  it('says what it is to HTTP/1.1', async () => {
    const port = await open()
    const answer = await rawExchange(port.number, 'GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(answer.text).toMatch(/^HTTP\/1\.1 505 /)
    expect(answer.text).toContain('\r\n\r\nthis port speaks gRPC, by HTTP/2\n')
    expect(answer.end).toBe('closed')
  })

  it('authorizes by method, authority, metadata and principal', async () => {
    const rbac = [
      deny('path', [{ kind: 'path', match: exact('/test.Echo/Upload') }]),
      deny('header', [
        {
          kind: 'header',
          match: { kind: 'string', name: 'x-role', match: exact('guest'), invert: false, missingAsEmpty: false },
        },
      ]),
      deny('peer', [{ kind: 'any' }], [{ kind: 'authenticated', match: exact(spiffe(ca, 'mallory')) }]),
    ]
    const port = await open({ spec: { tlsMode: 'STRICT', rbac } })
    const orders = secure(port)
    const codes = async (client: EchoClient, metadata = {}) => [
      (await client.ask('unary', 'x', metadata)).code,
      (await client.ask('upload', 'x', metadata)).code,
    ]
    expect(await codes(orders)).toEqual([status.OK, status.PERMISSION_DENIED])
    expect(await codes(orders, { 'x-role': 'guest' })).toEqual([status.PERMISSION_DENIED, status.PERMISSION_DENIED])
    expect(await codes(secure(port, 'mallory'))).toEqual([status.PERMISSION_DENIED, status.PERMISSION_DENIED])
  })

  it('finds what is denied among several lines of one header', async () => {
    const match = {
      kind: 'string',
      name: 'x-role',
      match: exact('guest'),
      invert: false,
      missingAsEmpty: false,
    } as const
    const port = await open({ spec: { rbac: [deny('header', [{ kind: 'header', match }])] } })
    const { client } = plain(port)
    const { path, requestSerialize, responseDeserialize } = echoService.unary
    const metadata = new Metadata()
    metadata.add('x-role', 'admin')
    metadata.add('x-role', 'guest')
    const code = await new Promise((resolve) =>
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, 'x', metadata, (e) => resolve(e?.code)),
    )
    expect(code).toBe(status.PERMISSION_DENIED)
  })

  it('takes headers of the mesh out, and leaves to apps what a verified peer tells them', async () => {
    const seen: string[][] = []
    const look = {
      unary: (call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) => {
        seen.push(Object.keys(call.metadata.getMap()).filter((name) => name.startsWith('x-')))
        done(null, '')
      },
    }
    const port = await open({ spec: { tlsMode: 'PERMISSIVE' }, handlers: look })
    const sent = { 'x-inmesh-repeat': '1', 'x-envoy-attempt-count': '2', 'x-envoy-anything': '1', 'x-mine': '1' }
    await plain(port).ask('unary', 'who', sent)
    await secure(port).ask('unary', 'who', sent)
    expect(seen).toEqual([['x-mine'], ['x-envoy-attempt-count', 'x-mine']])
  })

  it('other interceptors hear of no call that is refused, and see the peer', async () => {
    const heard: (string | undefined)[] = []
    const interceptor = (_method: unknown, call: ConstructorParameters<typeof ServerInterceptingCall>[0]) =>
      new ServerInterceptingCall(call, {
        start: (next) =>
          next({
            onReceiveMetadata: (metadata, on) => {
              heard.push(getGrpcPeer(call)?.serviceAccount)
              on(metadata.clone())
            },
          }),
      })
    const port = await open({ server: { interceptors: [interceptor] }, spec: { tlsMode: 'STRICT' }, handlers: whoAmI })
    expect((await secure(port).ask('unary')).text).toBe(spiffe(ca, 'orders'))
    port.set({ tlsMode: 'STRICT', rbac: [deny('all', [{ kind: 'any' }])] })
    expect((await secure(port).ask('unary')).code).toBe(status.PERMISSION_DENIED)
    expect(heard).toEqual(['orders'])
  })

  it('survives a peer that resets at any time', async () => {
    const port = await open({ spec: { tlsMode: 'PERMISSIVE' } })
    for (const bytes of ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'PRI * HTT', '\x16\x03\x01']) {
      const socket = connect(port.number, '127.0.0.1')
      await once(socket, 'connect')
      socket.write(bytes, 'latin1')
      socket.resetAndDestroy()
    }
    expect((await plain(port).ask('unary')).code).toBe(status.OK)
  })
})
