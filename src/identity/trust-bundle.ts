import { X509Certificate } from 'node:crypto'
import { InmeshError } from '../errors.ts'
import type { TrustBundles } from '../model/snapshot.ts'
import { readCertificateProfile } from './certificate-profile.ts'
import { maySignCertificates } from './leaf-profile.ts'

const PEM_BLOCK = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g

/** The DER certificates of a PEM text, in order; other blocks and text around them are skipped. */
export function certificatesFromPem(pem: string): Buffer[] {
  return [...pem.matchAll(PEM_BLOCK)].map((block) => Buffer.from(block[1]!, 'base64'))
}

/** One PEM block per certificate. */
export function certificatesToPem(certificates: readonly Uint8Array[]): string {
  return certificates
    .map((der) => {
      const lines =
        Buffer.from(der)
          .toString('base64')
          .match(/.{1,64}/g) ?? []
      return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
    })
    .join('')
}

/**
 * The anchors of one trust domain. Refuses what is no CA certificate: a leaf among the anchors would be its own anchor.
 * An empty list is allowed and means that nobody of the domain is trusted.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY, naming the first certificate that cannot be an anchor
 */
export function trustAnchors(certificates: readonly Uint8Array[], source: string): readonly Uint8Array[] {
  certificates.forEach((der, index) => {
    const why = whyNoAnchor(der)
    if (why !== undefined) {
      throw new InmeshError('ERR_INMESH_IDENTITY', `${source}: certificate ${index + 1} is no trust anchor: ${why}`)
    }
  })
  return certificates.map((der) => Buffer.from(der))
}

/**
 * Reads a trust bundle file (PEM).
 *
 * @throws InmeshError ERR_INMESH_IDENTITY when it holds no certificate, or one that is no CA certificate
 */
export function trustAnchorsFromPem(pem: string, source: string): readonly Uint8Array[] {
  const certificates = certificatesFromPem(pem)
  if (certificates.length === 0) {
    throw new InmeshError('ERR_INMESH_IDENTITY', `${source}: no PEM certificate found; expected the mesh's root`)
  }
  return trustAnchors(certificates, source)
}

/** Bundles from pairs of trust domain and anchors; a domain that comes twice is refused, never merged (SPIFFE_Federation.md 4.2). */
export function trustBundles(
  domains: Iterable<readonly [trustDomain: string, certificates: readonly Uint8Array[]]>,
  source: string,
): TrustBundles {
  const bundles = new Map<string, readonly Uint8Array[]>()
  for (const [domain, certificates] of domains) {
    if (bundles.has(domain)) {
      throw new InmeshError('ERR_INMESH_IDENTITY', `${source}: trust domain ${domain} is there twice`)
    }
    bundles.set(domain, trustAnchors(certificates, `${source}: ${domain}`))
  }
  return bundles
}

function whyNoAnchor(der: Uint8Array): string | undefined {
  const profile = readCertificateProfile(der)
  if ('failure' in profile) return profile.message
  if (!maySignCertificates(profile)) return 'it is not a CA certificate'
  try {
    new X509Certificate(der)
    return undefined
  } catch (error) {
    return `OpenSSL cannot read it: ${(error as Error).message}`
  }
}
