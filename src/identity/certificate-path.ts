import { X509Certificate } from 'node:crypto'
import { readCertificateProfile } from './certificate-profile.ts'
import { type IdentityFailure, identityFailure } from './identity-failure.ts'
import { maySignCertificates } from './leaf-profile.ts'

/** A certificate that may sign others, with what the walk needs of it. */
interface Signer {
  readonly certificate: X509Certificate
  readonly notBefore: number
  readonly notAfter: number
  readonly pathLength: number
}

/** Certificates from the leaf to the anchor. */
const MAX_STEPS = 8
/** Candidates that are looked at. */
const MAX_BETWEEN = 16
/** Signature checks for one peer; a chain of look-alike names must not cost more than this. */
const MAX_CHECKS = 32

const signersOf = new WeakMap<readonly Uint8Array[], readonly Signer[]>()

/**
 * Walks from a leaf over the certificates that the peer sent until an anchor of ONE trust domain is reached (RFC 5280 6.1
 * without policies and name constraints, which OpenSSL has checked when the connection was made). OpenSSL knows only the
 * union of all domains' anchors, so it cannot say whose anchor it found.
 *
 * @param chain DER; the leaf first, then whatever may lie between
 * @param now wall clock ms
 */
export function findPath(
  chain: readonly Uint8Array[],
  anchors: readonly Uint8Array[],
  now: number,
): IdentityFailure | undefined {
  const trusted = anchorSigners(anchors)
  const leaf = parse(chain[0]!)
  if (leaf === undefined) return identityFailure('MALFORMED', 'OpenSSL cannot read the certificate')
  let between: readonly Signer[] | undefined
  let checks = 0
  let expired = false

  const issued = (subject: X509Certificate, by: Signer, below: number): boolean => {
    if (below > by.pathLength || !subject.checkIssued(by.certificate) || ++checks > MAX_CHECKS) return false
    if (now < by.notBefore || now > by.notAfter) {
      expired = true
      return false
    }
    return subject.verify(by.certificate.publicKey)
  }
  /** `below`: CA certificates between this one and the leaf. */
  const reaches = (subject: X509Certificate, below: number, used: readonly Signer[]): boolean => {
    if (trusted.some((anchor) => issued(subject, anchor, below))) return true
    if (used.length >= MAX_STEPS - 2) return false
    between ??= chain.slice(1, 1 + MAX_BETWEEN).flatMap((der) => signer(der) ?? [])
    return between.some(
      (by) => !used.includes(by) && issued(subject, by, below) && reaches(by.certificate, below + 1, [...used, by]),
    )
  }
  if (reaches(leaf, 0, [])) return undefined
  return expired
    ? identityFailure('EXPIRED', 'a certificate between the peer and the anchor is outside its validity')
    : identityFailure('UNTRUSTED', "no path from the peer's certificate to an anchor of its trust domain")
}

/** Bundles are immutable, so their anchors are parsed once. */
function anchorSigners(anchors: readonly Uint8Array[]): readonly Signer[] {
  let signers = signersOf.get(anchors)
  if (signers === undefined) {
    signers = anchors.flatMap((der) => signer(der) ?? [])
    signersOf.set(anchors, signers)
  }
  return signers
}

function signer(der: Uint8Array): Signer | undefined {
  const profile = readCertificateProfile(der)
  if ('failure' in profile || !maySignCertificates(profile)) return undefined
  const certificate = parse(der)
  if (certificate === undefined) return undefined
  const { notBefore, notAfter, pathLength = Number.POSITIVE_INFINITY } = profile
  return { certificate, notBefore, notAfter, pathLength }
}

function parse(der: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(der)
  } catch {
    // What cannot be read vouches for nobody.
    return undefined
  }
}
