import { createPublicKey, generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createCsr, createPrivateKey } from '../../src/identity/csr.ts'
import {
  bitString,
  boolean,
  element,
  implicit,
  integer,
  octetString,
  oid,
  sequence,
  set,
} from '../../src/identity/der-write.ts'
import { readCertificateRequest } from './certificate-request.ts'
import { IssueError } from './issue-error.ts'
import { x509 } from './x509.ts'

const ID = 'spiffe://cluster.local/ns/shop/sa/orders'

/** A request with any extensions at all. */
function csrWith(key: KeyObject, ...extensions: Buffer[]): Buffer {
  const request = sequence(oid('1.2.840.113549.1.9.14'), set(sequence(...extensions)))
  const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
  const info = sequence(integer(0), sequence(), spki, element(0xa0, request))
  return sequence(info, sequence(oid('1.2.840.10045.4.3.2')), bitString(sign('sha256', info, key)))
}

const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
const extension = (id: string, value: Buffer) => sequence(oid(id), octetString(value))
const uri = (text: string) => implicit(6, Buffer.from(text))

describe('certificate request', () => {
  it('of every allowed kind of key is read: the key and the names that it asks for', async () => {
    for (const algorithm of ['ec-p256', 'rsa-2048'] as const) {
      const own = await createPrivateKey(algorithm)
      const request = await readCertificateRequest(createCsr(own, ID, 'orders'))
      expect(request.requestedUris).toEqual([ID])
      expect(createPublicKey({ key: request.spki, format: 'der', type: 'spki' }).equals(createPublicKey(own))).toBe(
        true,
      )
    }
    const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).privateKey
    expect((await readCertificateRequest(csrWith(p384))).requestedUris).toEqual([])
  })

  it('is understood by others as it is meant', async () => {
    const csr = new x509.Pkcs10CertificateRequest(new Uint8Array(createCsr(key, ID, 'orders')))
    expect(await csr.verify()).toBe(true)
    expect(csr.subject).toBe('CN=orders')
  })

  it('that asks to be an authority is refused', async () => {
    const csr = csrWith(key, extension('2.5.29.19', sequence(boolean(true))))
    await expect(readCertificateRequest(csr)).rejects.toThrow('asks for CA:TRUE')
    expect(await readCertificateRequest(csrWith(key, extension('2.5.29.19', sequence())))).toBeDefined()
  })

  it('shows every name that it asks for, in however many extensions', async () => {
    const names = (...texts: string[]) => extension('2.5.29.17', sequence(...texts.map(uri)))
    const csr = csrWith(key, names(ID, 'spiffe://cluster.local/ns/admin/sa/root'), names('https://x.example/'))
    expect((await readCertificateRequest(csr)).requestedUris).toEqual([
      ID,
      'spiffe://cluster.local/ns/admin/sa/root',
      'https://x.example/',
    ])
  })

  it('with a weak or unknown kind of key is refused', async () => {
    const weak = [
      generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey,
      generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).privateKey,
      generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey,
      generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey,
    ]
    for (const own of weak)
      await expect(readCertificateRequest(createCsr(own, ID))).rejects.toThrow(/has a key that is none/)
    const ed = generateKeyPairSync('ed25519').privateKey
    const spki = createPublicKey(ed).export({ type: 'spki', format: 'der' })
    const info = sequence(integer(0), sequence(), spki, element(0xa0))
    const csr = sequence(info, sequence(oid('1.3.101.112')), bitString(sign(null, info, ed)))
    await expect(readCertificateRequest(csr)).rejects.toBeInstanceOf(IssueError)
  })

  it('that somebody else signed is refused', async () => {
    const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const info = sequence(
      integer(0),
      sequence(),
      createPublicKey(key).export({ type: 'spki', format: 'der' }),
      element(0xa0),
    )
    const csr = sequence(info, sequence(oid('1.2.840.10045.4.3.2')), bitString(sign('sha256', info, other)))
    await expect(readCertificateRequest(csr)).rejects.toThrow('not signed by the key')
  })

  it('that is empty, too large or no request at all is refused, always as the requester’s fault', async () => {
    const good = createCsr(key, ID)
    const certificate = new X509Certificate(
      Buffer.from(
        (
          await x509.X509CertificateGenerator.createSelfSigned({
            keys: (await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
              'sign',
              'verify',
            ])) as never,
          })
        ).rawData,
      ),
    ).raw
    for (const bad of [Buffer.alloc(0), Buffer.alloc(8193, 0x30), Buffer.from('junk'), certificate, good.subarray(1)]) {
      await expect(readCertificateRequest(bad)).rejects.toMatchObject({ name: 'IssueError', status: 3 })
    }
    const change = fc.record({ at: fc.nat(good.length - 1), value: fc.nat(255) })
    await fc.assert(
      fc.asyncProperty(change, async ({ at, value }) => {
        const bytes = Buffer.from(good)
        bytes[at] = value
        await readCertificateRequest(bytes).catch((error) => expect(error).toBeInstanceOf(IssueError))
      }),
      { numRuns: 300 },
    )
  })
})
