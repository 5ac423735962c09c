import { type CertificateProfile, ExtendedKeyUsage, KeyUsage } from './certificate-profile.ts'
import { type IdentityFailure, identityFailure } from './identity-failure.ts'
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts'

/** Who shows the certificate. */
export type PeerRole = 'client' | 'server'

/**
 * Whether a certificate may stand for a workload in this role, and for which one (X509-SVID.md 2, 4 and 5.2): exactly one
 * URI name, a SPIFFE id with a path; no CA; digitalSignature and no signing of certificates or CRLs where a key usage is
 * given; the role's purpose where purposes are given. Says nothing about who signed it, and when.
 */
export function checkLeaf(profile: CertificateProfile, role: PeerRole): SpiffeId | IdentityFailure {
  if (profile.uris.length !== 1) {
    return identityFailure('URI_COUNT', `certificate has ${profile.uris.length} URI names instead of exactly one`)
  }
  const id = parseSpiffeId(profile.uris[0]!)
  if ('failure' in id) return id
  if (id.path === '') return identityFailure('SPIFFE_ID', `${id.text} names a trust domain and not a workload`)
  if (profile.ca) return identityFailure('KEY_USAGE', `certificate of ${id.text} is a CA certificate`)
  const usage = profile.keyUsage
  if (usage !== undefined) {
    if ((usage & (KeyUsage.keyCertSign | KeyUsage.cRLSign)) !== 0) {
      return identityFailure('KEY_USAGE', `key of ${id.text} may sign certificates or CRLs`)
    }
    if ((usage & KeyUsage.digitalSignature) === 0) {
      return identityFailure('KEY_USAGE', `key of ${id.text} may not make digital signatures`)
    }
  }
  const purposes = profile.extendedKeyUsage
  if (purposes !== undefined && !purposes.includes(ExtendedKeyUsage[role])) {
    return identityFailure('EXTENDED_KEY_USAGE', `certificate of ${id.text} is not for use as a TLS ${role}`)
  }
  return id
}

/** Whether a certificate may sign others: cA, and keyCertSign where a key usage is given (RFC 5280 4.2.1.3, 4.2.1.9). */
export function maySignCertificates(profile: CertificateProfile): boolean {
  return profile.ca && (profile.keyUsage === undefined || (profile.keyUsage & KeyUsage.keyCertSign) !== 0)
}
