import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { status } from '@grpc/grpc-js'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { IssueRequestSchema } from '../../src/gen/inmesh/v1/ca_pb.js'
import { type CertificateProfile, readCertificateProfile } from '../../src/identity/certificate-profile.ts'
import { createCsr, createPrivateKey } from '../../src/identity/csr.ts'
import { newJoinToken } from '../../src/identity/join-token.ts'
import { silentLogger } from '../../src/model/logger.ts'
import { type MemoryRecords, memoryRecords } from '../../test/support/memory-records.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { mintJoinToken } from './attest/join-token.ts'
import { Authority } from './authority.ts'
import { type CaService, createCaService } from './service.ts'

const ORDERS = 'spiffe://cluster.local/ns/shop/sa/orders'
const ADMIN = 'spiffe://cluster.local/ns/admin/sa/root'
const dataDir = await mkdtemp(join(tmpdir(), 'inmesh-ca-service-'))
afterAll(() => rm(dataDir, { recursive: true }))

let now = Date.now()
const authority = await Authority.open({ dataDir, trustDomain: 'cluster.local', now: () => now })
const key = await createPrivateKey()
const csr = createCsr(key, ORDERS, 'orders')

let store: MemoryRecords
let service: CaService
beforeEach(() => {
  now = Date.now()
  store = memoryRecords()
  service = createCaService({ authority, store, logger: silentLogger })
})

async function token(ttlMs?: number): Promise<string> {
  const request = { service: 'orders', namespace: 'shop', serviceAccount: 'orders', ttlMs }
  return (await mintJoinToken(store, authority, request)).text
}

function issue(
  fields: { csr?: Uint8Array; joinToken?: string; ttlMs?: number },
  peer: X509Certificate | null = null,
  address = '10.0.0.1',
) {
  const { ttlMs, ...rest } = fields
  const ttl = ttlMs === undefined ? undefined : durationFromMs(ttlMs)
  return service.issue(create(IssueRequestSchema, { csr, ...rest, ttl }), peer, address)
}

async function joined(): Promise<X509Certificate> {
  return new X509Certificate((await issue({ joinToken: await token() })).chain[0]!)
}

describe('issue', () => {
  it('answers a good token with certificate, bundles and id, and puts it on record', async () => {
    const response = await issue({ joinToken: await token() })
    const profile = readCertificateProfile(response.chain[0]!) as CertificateProfile
    expect(response.spiffeId).toBe(ORDERS)
    expect(profile.uris).toEqual([ORDERS])
    expect(response.trustBundles['cluster.local']?.certificates.map((der) => Buffer.from(der))).toEqual([
      authority.rootDer,
    ])
    expect(store.certificateRecords).toMatchObject([
      {
        serial: profile.serialNumber,
        service: 'orders',
        spiffeId: ORDERS,
        privateKey: 'csr',
        expiresAt: profile.notAfter,
      },
    ])
    expect(store.auditRecords).toMatchObject([
      { verb: 'issue', subject: ORDERS, result: 'ok', actor: expect.stringMatching(/^join-token:/) },
    ])
  })

  it('csr-cannot-choose-id: a request for another id than the proof’s is refused and on record', async () => {
    const wishes = [
      ADMIN,
      `${ORDERS}-evil`,
      'spiffe://other.org/ns/shop/sa/orders',
      'https://orders/',
      ORDERS.toUpperCase(),
    ]
    for (const wish of wishes) {
      const attempt = issue({ csr: createCsr(key, wish), joinToken: await token() })
      await expect(attempt).rejects.toMatchObject({ status: status.PERMISSION_DENIED })
    }
    expect(store.certificateRecords).toEqual([])
    expect(store.auditRecords.map((r) => r.result)).toEqual(wishes.map(() => 'refused'))
    expect(store.auditRecords[0]?.detail).toContain(ADMIN)
  })

  it('the subject of a request names nobody', async () => {
    const response = await issue({ csr: createCsr(key, ORDERS, 'admin'), joinToken: await token() })
    expect(new X509Certificate(response.chain[0]!).subject).toBe('CN=orders')
  })

  it('without any proof is refused', async () => {
    await expect(issue({})).rejects.toMatchObject({ status: status.UNAUTHENTICATED })
  })

  it('gives the wished lifetime up to the limit, and the default for none', async () => {
    const life = async (ttlMs?: number) => {
      const { chain } = await issue({ joinToken: await token(), ttlMs })
      return (readCertificateProfile(chain[0]!) as CertificateProfile).notAfter - now
    }
    expect(await life(60_000)).toBeLessThanOrEqual(60_000)
    expect(await life(0)).toBeGreaterThan(86_390_000)
    expect(await life()).toBeGreaterThan(86_390_000)
    expect(await life(10 * 86_400_000)).toBeLessThanOrEqual(86_400_000)
  })
})

describe('join token', () => {
  it('join-token-single-use-race: of 100 at once exactly one gets a certificate', async () => {
    const joinToken = await token()
    const all = await Promise.allSettled(
      Array.from({ length: 100 }, (_, i) => issue({ joinToken }, null, `10.0.1.${i}`)),
    )
    expect(all.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
    expect(store.certificateRecords).toHaveLength(1)
    expect(store.auditRecords.filter((r) => r.result === 'refused')).toHaveLength(99)
    for (const result of all) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ status: status.UNAUTHENTICATED })
    }
  })

  it('expired, unknown, of another mesh or no token at all: refused', async () => {
    const bad = [
      [await token(-1), /expired/],
      [newJoinToken(authority.rootDer).text, /not known/],
      [newJoinToken(createTestCa('cluster.local').rootDer).text, /another mesh/],
      ['inmesh1.x.y', /not 32 bytes/],
    ] as const
    for (const [joinToken, why] of bad) await expect(issue({ joinToken })).rejects.toThrow(why)
    expect(store.certificateRecords).toEqual([])
  })

  it('five wrong ones in a minute, and the address has to wait; others do not', async () => {
    const wrong = () => issue({ joinToken: newJoinToken(authority.rootDer).text })
    for (let i = 0; i < 5; i++) await expect(wrong()).rejects.toMatchObject({ status: status.UNAUTHENTICATED })
    const good = await token()
    await expect(issue({ joinToken: good })).rejects.toMatchObject({ status: status.RESOURCE_EXHAUSTED })
    expect((await issue({ joinToken: await token() }, null, '10.0.0.2')).spiffeId).toBe(ORDERS)
    now += 61_000
    expect((await issue({ joinToken: good })).spiffeId).toBe(ORDERS)
  })

  it('is not used up by a request that is no request', async () => {
    const joinToken = await token()
    await expect(issue({ csr: Buffer.from('junk'), joinToken })).rejects.toMatchObject({
      status: status.INVALID_ARGUMENT,
    })
    expect((await issue({ joinToken })).spiffeId).toBe(ORDERS)
  })

  it('keeps no secret in the store', async () => {
    const text = await token()
    const secret = text.split('.')[1]!
    expect(JSON.stringify(store)).not.toContain(secret)
    await expect(
      mintJoinToken(store, authority, { service: 'x', namespace: 'a/b', serviceAccount: 'c' }),
    ).rejects.toThrow()
  })
})

describe('renewal', () => {
  it('gives the same id for the same id, of the same service', async () => {
    const response = await issue({}, await joined())
    expect(response.spiffeId).toBe(ORDERS)
    expect(store.certificateRecords.map((r) => r.service)).toEqual(['orders', 'orders'])
    expect(store.certificateRecords[1]?.requester).toBe(`certificate:${store.certificateRecords[0]?.serial}`)
  })

  it('for another id is refused', async () => {
    const peer = await joined()
    await expect(issue({ csr: createCsr(key, ADMIN) }, peer)).rejects.toMatchObject({
      status: status.PERMISSION_DENIED,
    })
  })

  it('with an expired certificate, or one of another authority, is refused', async () => {
    const peer = await joined()
    now += 86_400_000 + 1_000
    await expect(issue({}, peer)).rejects.toThrow(/expired/)
    now = Date.now()
    const twin = createTestCa('cluster.local').issue(ORDERS)
    await expect(issue({}, new X509Certificate(twin.certDer))).rejects.toMatchObject({ status: status.UNAUTHENTICATED })
    const foreign = createTestCa('other.org').issue('spiffe://other.org/ns/shop/sa/orders')
    await expect(issue({}, new X509Certificate(foreign.certDer))).rejects.toMatchObject({
      status: status.UNAUTHENTICATED,
    })
    await expect(issue({}, new X509Certificate(authority.rootDer))).rejects.toMatchObject({
      status: status.UNAUTHENTICATED,
    })
  })

  it('with a wrong token beside a good certificate counts as the token', async () => {
    const joinToken = newJoinToken(authority.rootDer).text
    await expect(issue({ joinToken }, await joined())).rejects.toMatchObject({ status: status.UNAUTHENTICATED })
  })
})
