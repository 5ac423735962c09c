import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { afterEach, describe, expect, it } from 'vitest'
import { mintJoinToken } from '../../../control-plane/ca/attest/join-token.ts'
import { type CaServer, startCaServer } from '../../../test/support/ca-server.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'
import { ControlPlaneChannel } from '../control-plane-channel.ts'
import { isFailure } from '../identity-failure.ts'
import { IdentityState } from '../identity-state.ts'
import { type JoinToken, newJoinToken, parseJoinToken } from '../join-token.ts'
import { RefusedError } from '../refused-error.ts'
import { type SpiffeId, workloadSpiffeId } from '../spiffe-id.ts'
import { type CsrSourceOptions, createCsrSource } from './csr-source.ts'

const orders = id('orders')
const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

function id(serviceAccount: string): SpiffeId {
  const parsed = workloadSpiffeId('cluster.local', 'shop', serviceAccount)
  if (isFailure(parsed)) throw new Error(parsed.message)
  return parsed
}

async function ca(options: Parameters<typeof startCaServer>[0] = {}): Promise<CaServer> {
  const server = await startCaServer(options)
  closers.push(() => server.close())
  return server
}

async function tokenFor(server: CaServer, serviceAccount = 'orders', ttlMs?: number): Promise<JoinToken> {
  const { store, authority } = server
  const minted = await mintJoinToken(store, authority, { service: 'orders', namespace: 'shop', serviceAccount, ttlMs })
  const token = parseJoinToken(minted.text)
  if (isFailure(token)) throw new Error(token.message)
  return token
}

function workload(address: string, options: Partial<CsrSourceOptions>) {
  const state = new IdentityState({ trustDomain: 'cluster.local' })
  const channel = new ControlPlaneChannel(address, state)
  const source = createCsrSource({
    channel,
    spiffeId: orders,
    service: 'orders',
    token: null,
    trustBundleFile: null,
    ...options,
  })
  return { state, source, channel }
}

describe('certificates by CSR', () => {
  it('a new workload joins with its token, and renews with its certificate', async () => {
    const server = await ca()
    const { state, source, channel } = workload(server.address, { token: await tokenFor(server) })
    const first = await source.obtain()
    expect(first.identity.spiffeId.text).toBe('spiffe://cluster.local/ns/shop/sa/orders')
    expect(first.identity.notAfter - Date.now()).toBeGreaterThan(86_000_000)
    state.updateBundles(first.bundles)
    const anonymous = channel.credentials()
    state.update(first.identity)
    expect(channel.credentials()).not.toBe(anonymous)
    const second = await source.obtain()
    expect(second.identity.serialNumber).not.toBe(first.identity.serialNumber)
    expect(second.identity.privateKey.equals(first.identity.privateKey)).toBe(false)
    expect(server.store.certificateRecords.map((r) => [r.service, r.privateKey, r.requester.split(':')[0]])).toEqual([
      ['orders', 'csr', 'join-token'],
      ['orders', 'csr', 'certificate'],
    ])
  })

  it('an RSA key and a shorter lifetime are given when asked for', async () => {
    const server = await ca()
    const token = await tokenFor(server)
    const { source } = workload(server.address, { token, keyAlgorithm: 'rsa-2048', ttlMs: 60_000 })
    const { identity } = await source.obtain()
    expect(identity.privateKey.asymmetricKeyType).toBe('rsa')
    expect(identity.notAfter - identity.issuedAt).toBeLessThanOrEqual(60_000)
  })

  it('a used, an expired and an invented token are refused for good', async () => {
    const server = await ca()
    const used = await tokenFor(server)
    await workload(server.address, { token: used }).source.obtain()
    const expired = await tokenFor(server, 'orders', -1)
    const invented = newJoinToken(server.authority.rootDer)
    for (const [token, why] of [
      [used, /used before/],
      [expired, /expired/],
      [invented, /not known/],
    ] as const) {
      const attempt = workload(server.address, { token }).source.obtain()
      await expect(attempt).rejects.toBeInstanceOf(RefusedError)
      await expect(attempt).rejects.toThrow(why)
    }
    expect(server.store.certificateRecords).toHaveLength(1)
  })

  it('a token of another workload gives no certificate to this one', async () => {
    const server = await ca()
    const { source } = workload(server.address, { token: await tokenFor(server, 'payments') })
    await expect(source.obtain()).rejects.toThrow(/asks for .*orders.*proof is of .*payments/)
    expect(server.store.certificateRecords).toEqual([])
  })

  it('without token and certificate it says what to do', async () => {
    const server = await ca()
    await expect(workload(server.address, {}).source.obtain()).rejects.toThrow(/INMESH_TOKEN/)
  })
})

describe('first trust', () => {
  it('sends nothing to a control plane whose root is not the one of the token', async () => {
    const real = await ca()
    const impostor = await ca()
    const { source, state } = workload(impostor.address, { token: await tokenFor(real) })
    await expect(source.obtain()).rejects.toThrow(/another mesh, or somebody in between/)
    expect(impostor.requests()).toBe(0)
    expect(state.bundles.size).toBe(0)
  })

  it('a forwarder that presents the real root without its key gets no request', async () => {
    const real = await ca()
    const rogue = createTestCa('cluster.local').issue('spiffe://cluster.local/ns/istio-system/sa/inmesh')
    let bytes = 0
    const server = createServer(
      { cert: rogue.certPem + real.authority.rootPem, key: rogue.keyPem, ALPNProtocols: ['h2'] },
      (socket) =>
        socket
          .on('error', () => undefined)
          .on('data', (chunk) => {
            bytes += chunk.length
          }),
    )
    server.on('tlsClientError', () => undefined) // the client refuses
    closers.push(() => server.close())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
    const { source } = workload(address, { token: await tokenFor(real), timeoutMs: 1_000 })
    await expect(source.obtain()).rejects.toThrow()
    expect(bytes).toBe(0)
  })

  it('a workload of the mesh is not its control plane', async () => {
    const real = await ca()
    const joined = await workload(real.address, { token: await tokenFor(real) }).source.obtain()
    let bytes = 0
    const server = createServer(
      {
        cert: joined.identity.certificateChain + real.authority.rootPem,
        key: joined.identity.privateKey.export({ type: 'pkcs8', format: 'pem' }),
        ALPNProtocols: ['h2'],
      },
      (socket) =>
        socket
          .on('error', () => undefined)
          .on('data', (chunk) => {
            bytes += chunk.length
          }),
    )
    server.on('tlsClientError', () => undefined) // the client refuses
    closers.push(() => server.close())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
    const { source } = workload(address, { token: await tokenFor(real), timeoutMs: 1_000 })
    await expect(source.obtain()).rejects.toThrow(/sa\/inmesh|sa\/orders|Deadline|deadline/i)
    expect(bytes).toBe(0)
  })

  it('comes from a file if there is one', async () => {
    const server = await ca()
    const file = join(tmpdir(), `inmesh-roots-${process.pid}.pem`)
    await writeFile(file, server.authority.rootPem)
    const token = await tokenFor(server)
    const { source } = workload(server.address, { token, trustBundleFile: file })
    expect((await source.obtain()).identity.spiffeId.text).toBe(orders.text)
    await writeFile(file, createTestCa('cluster.local').rootPem)
    const wrong = workload(server.address, { token: await tokenFor(server), trustBundleFile: file, timeoutMs: 500 })
    await expect(wrong.source.obtain()).rejects.toMatchObject({ code: 'ERR_INMESH_CONTROL_PLANE' })
    await writeFile(file, 'no certificate')
    const empty = workload(server.address, { token: await tokenFor(server), trustBundleFile: file })
    await expect(empty.source.obtain()).rejects.toThrow(/no PEM certificate/)
    const missing = workload(server.address, { trustBundleFile: `${file}-missing` })
    await expect(missing.source.obtain()).rejects.toThrow(/cannot read the trust bundle/)
  })

  it('a control plane that is away, or accepts and says nothing, is an error in time', async () => {
    const silent = createTcpServer((socket) => socket.on('error', () => undefined))
    closers.push(() => silent.close())
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const port = (silent.address() as AddressInfo).port
    const { rootDer } = createTestCa('cluster.local')
    const token = newJoinToken(rootDer)
    await expect(workload(`127.0.0.1:${port}`, { token, timeoutMs: 200 }).source.obtain()).rejects.toMatchObject({
      code: 'ERR_INMESH_CONTROL_PLANE',
    })
    silent.close()
    await expect(workload('127.0.0.1:1', { token }).source.obtain()).rejects.toMatchObject({
      code: 'ERR_INMESH_CONTROL_PLANE',
    })
  })
})
