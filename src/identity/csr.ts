import { createPublicKey, generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'
import { bitString, commonNameOnly, element, implicit, integer, octetString, oid, sequence, set } from './der-write.ts'

export type KeyAlgorithm = 'ec-p256' | 'rsa-2048'

/** A fresh key pair's private half; it stays in this process. */
export async function createPrivateKey(algorithm: KeyAlgorithm = 'ec-p256'): Promise<KeyObject> {
  const generate = promisify(generateKeyPair)
  const pair =
    algorithm === 'ec-p256'
      ? await generate('ec', { namedCurve: 'P-256' })
      : await generate('rsa', { modulusLength: 2048, publicExponent: 65537 })
  return pair.privateKey
}

/**
 * A certification request (PKCS#10, RFC 2986), DER, signed with SHA-256. It asks for one URI name; the authority decides
 * by the proof and refuses a request that asks for another id than the proof's.
 */
export function createCsr(privateKey: KeyObject, spiffeId: string, commonName = ''): Buffer {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' })
  const names = sequence(implicit(6, Buffer.from(spiffeId, 'latin1')))
  const extensions = sequence(sequence(oid('2.5.29.17'), octetString(names)))
  const extensionRequest = sequence(oid('1.2.840.113549.1.9.14'), set(extensions))
  const info = sequence(integer(0), commonNameOnly(commonName), spki, element(0xa0, extensionRequest))
  const algorithm =
    privateKey.asymmetricKeyType === 'rsa'
      ? sequence(oid('1.2.840.113549.1.1.11'), element(0x05))
      : sequence(oid('1.2.840.10045.4.3.2'))
  return sequence(info, algorithm, bitString(sign('sha256', info, privateKey)))
}
