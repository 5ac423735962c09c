import { createPublicKey, type KeyObject } from 'node:crypto'
import { IssueError } from './issue-error.ts'
import { x509 } from './x509.ts'

/** What is taken from a CSR: the key, and which names it asks for (to be compared, never copied). */
export interface CertificateRequest {
  /** Subject public key info, DER. */
  readonly spki: Buffer
  readonly requestedUris: readonly string[]
}

/** Bytes. */
const MAX_SIZE = 8 * 1024
const CURVES: readonly string[] = ['prime256v1', 'secp384r1']
const LEAST_RSA_BITS = 2048
const MOST_RSA_BITS = 8192

/**
 * Reads a PKCS#10 request and checks what holds for every requester: size, a key of an allowed kind, a signature by that
 * key, no wish to be an authority.
 *
 * @throws IssueError INVALID_ARGUMENT
 */
export async function readCertificateRequest(der: Uint8Array): Promise<CertificateRequest> {
  if (der.length === 0 || der.length > MAX_SIZE) throw refused(`is ${der.length} bytes long: expected 1 to ${MAX_SIZE}`)
  let csr: x509.Pkcs10CertificateRequest
  let genuine: boolean
  let request: CertificateRequest
  try {
    csr = new x509.Pkcs10CertificateRequest(new Uint8Array(der))
    request = { spki: Buffer.from(csr.publicKey.rawData), requestedUris: requestedUris(csr) }
    checkKey(createPublicKey({ key: request.spki, format: 'der', type: 'spki' }))
    genuine = await csr.verify()
  } catch (error) {
    if (error instanceof IssueError) throw error
    throw refused('is not a PKCS#10 request in DER', error)
  }
  if (!genuine) throw refused('is not signed by the key that it holds')
  return request
}

function requestedUris(csr: x509.Pkcs10CertificateRequest): string[] {
  const uris: string[] = []
  for (const attribute of csr.attributes) {
    if (!(attribute instanceof x509.ExtensionsAttribute)) continue
    for (const extension of attribute.items) {
      if (extension instanceof x509.BasicConstraintsExtension && extension.ca) throw refused('asks for CA:TRUE')
      if (!(extension instanceof x509.SubjectAlternativeNameExtension)) continue
      for (const name of extension.names.items) if (name.type === 'url') uris.push(name.value)
    }
  }
  return uris
}

function checkKey(key: KeyObject): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  if (type === 'ec' && CURVES.includes(details?.namedCurve ?? '')) return
  if (type === 'rsa') {
    const bits = details?.modulusLength ?? 0
    if (bits >= LEAST_RSA_BITS && bits <= MOST_RSA_BITS && details?.publicExponent === 65537n) return
  }
  throw refused('has a key that is none of P-256, P-384, or RSA of at least 2048 bits with exponent 65537')
}

function refused(why: string, cause?: unknown): IssueError {
  return new IssueError('INVALID_ARGUMENT', `certificate request ${why}`, { cause })
}
