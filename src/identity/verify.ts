import { X509Certificate } from 'node:crypto'
import type { DetailedPeerCertificate, PeerCertificate, TLSSocket } from 'node:tls'
import type { Peer } from '../model/peer.ts'
import type { TrustBundles } from '../model/snapshot.ts'
import { findPath } from './certificate-path.ts'
import { type CertificateProfile, readCertificateProfile } from './certificate-profile.ts'
import { type IdentityFailure, identityFailure } from './identity-failure.ts'
import { checkLeaf, type PeerRole } from './leaf-profile.ts'
import type { SpiffeId } from './spiffe-id.ts'

export interface VerifyOptions {
  /** Namespace and service account of a peer mean something in this domain only. */
  readonly localTrustDomain: string
  /** Ids that this endpoint may show; undefined = every id of a known trust domain. */
  readonly allowedIds?: ReadonlySet<string> | undefined
  /** Refuses single certificates or ids that are otherwise good. */
  readonly denied?: ((spiffeId: string, serialNumber: string) => boolean) | undefined
  /** Wall clock ms; default Date.now. */
  readonly now?: (() => number) | undefined
}

/** What is kept of a peer beside the public facts, so that it can be judged again when the bundles change. */
const leaves = new WeakMap<Peer, X509Certificate>()

/**
 * Who is at the other end of a TLS connection. To be called once, after the handshake and before the first byte is used;
 * the order of the checks is the order of the file. The connection must have been made with `rejectUnauthorized: true`
 * and the contexts of IdentityState; that OpenSSL was content is checked again here.
 *
 * @param role what the PEER is: a server verifies with 'client'
 */
export function verifyPeer(
  socket: TLSSocket,
  role: PeerRole,
  bundles: TrustBundles,
  options: VerifyOptions,
): Peer | IdentityFailure {
  if (socket.isSessionReused()) return identityFailure('RESUMED', 'resumed TLS sessions carry an old identity')
  const tlsVersion = socket.getProtocol()
  if (tlsVersion !== 'TLSv1.3') {
    return identityFailure('TLS_VERSION', `peer speaks ${tlsVersion ?? 'no TLS'}; the mesh needs TLSv1.3`)
  }
  const leaf = socket.getPeerX509Certificate()
  if (leaf === undefined) return identityFailure('NO_CERTIFICATE', 'peer showed no certificate')
  if (!socket.authorized) {
    return identityFailure('UNTRUSTED', `certificate refused by OpenSSL: ${String(socket.authorizationError)}`)
  }
  const verified = verifyCertificate(leaf, () => sentWith(leaf), role, bundles, options)
  if ('failure' in verified) return verified
  const peer = peerOf(verified.id, verified.profile, tlsVersion, options.localTrustDomain)
  leaves.set(peer, leaf)
  return peer
}

/**
 * Judges a peer of `verifyPeer` again, against the bundles, lists and time of now: for open connections after a change.
 * The path is walked here even when one trust domain is loaded.
 */
export function recheckPeer(
  peer: Peer,
  role: PeerRole,
  bundles: TrustBundles,
  options: VerifyOptions,
): IdentityFailure | undefined {
  const leaf = leaves.get(peer)
  if (leaf === undefined) return identityFailure('NO_CERTIFICATE', `${peer.spiffeId} was not verified by this process`)
  const verified = verifyCertificate(leaf, () => sentWith(leaf), role, bundles, { ...options, walk: true })
  return 'failure' in verified ? verified : undefined
}

/**
 * For `tls.connect({ checkServerIdentity })`: names are not compared with hosts, ids are compared with what the endpoint
 * should be. Returns an Error with Node's own code for a wrong name; never throws, for a throw in there would end the process.
 */
export function serverIdentityCheck(
  bundles: () => TrustBundles,
  options: VerifyOptions,
): (host: string, certificate: PeerCertificate) => Error | undefined {
  return (_host, certificate) => {
    try {
      const leaf = new X509Certificate(certificate.raw)
      const verified = verifyCertificate(leaf, () => sentBefore(certificate), 'server', bundles(), options)
      return 'failure' in verified ? identityError(verified) : undefined
    } catch (error) {
      return identityError(identityFailure('MALFORMED', `certificate cannot be read: ${String(error)}`))
    }
  }
}

export interface IdentityError extends Error {
  code: 'ERR_TLS_CERT_ALTNAME_INVALID'
  reason: IdentityFailure
}

/** A failure in the shape that Node gives to certificates of the wrong name. */
export function identityError(failure: IdentityFailure): IdentityError {
  return Object.assign(new Error(failure.message), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' as const, reason: failure })
}

/** Steps 2 to 5: profile, bundle, path, lists. `walk` walks the path even if OpenSSL's verdict would be enough. */
export function verifyCertificate(
  leaf: X509Certificate,
  sent: () => readonly X509Certificate[],
  role: PeerRole,
  bundles: TrustBundles,
  options: VerifyOptions & { readonly walk?: boolean },
): { id: SpiffeId; profile: CertificateProfile } | IdentityFailure {
  const profile = readCertificateProfile(leaf.raw)
  if ('failure' in profile) return profile
  const id = checkLeaf(profile, role)
  if ('failure' in id) return id
  const now = (options.now ?? Date.now)()
  if (now < profile.notBefore) return identityFailure('EXPIRED', `certificate of ${id.text} is not valid yet`)
  if (now > profile.notAfter) return identityFailure('EXPIRED', `certificate of ${id.text} has expired`)
  const anchors = bundles.get(id.trustDomain)
  if (anchors === undefined || anchors.length === 0) {
    return identityFailure('NO_BUNDLE', `no trust bundle for ${id.trustDomain}, so ${id.text} is not trusted`)
  }
  if (bundles.size > 1 || options.walk === true) {
    const failure = findPath(leaf, sent(), anchors, now)
    if (failure !== undefined) return identityFailure(failure.failure, `${id.text}: ${failure.message}`)
  }
  if (options.denied?.(id.text, profile.serialNumber) === true) {
    return identityFailure('DENIED', `certificate ${profile.serialNumber} of ${id.text} is on the deny list`)
  }
  if (options.allowedIds !== undefined && !options.allowedIds.has(id.text)) {
    const expected = [...options.allowedIds].join(', ')
    return identityFailure('NOT_ALLOWED', `peer is ${id.text}; expected ${expected === '' ? 'nobody' : expected}`)
  }
  return { id, profile }
}

function peerOf(id: SpiffeId, profile: CertificateProfile, tlsVersion: string, localTrustDomain: string): Peer {
  const local = id.trustDomain === localTrustDomain
  return {
    spiffeId: id.text,
    trustDomain: id.trustDomain,
    namespace: local ? id.namespace : '',
    serviceAccount: local ? id.serviceAccount : '',
    serialNumber: profile.serialNumber,
    notAfter: profile.notAfter,
    tlsVersion,
  }
}

/** Node links what the peer sent by issuer; only candidates come of it, every signature is checked by the walk. */
function sentWith(leaf: X509Certificate): X509Certificate[] {
  const sent: X509Certificate[] = []
  let last: X509Certificate | undefined = leaf
  while (sent.length < 8) {
    last = last.issuerCertificate
    if (last === undefined || sent.some((c) => c.raw.equals(last!.raw))) break
    sent.push(last)
  }
  return sent
}

function sentBefore(certificate: PeerCertificate | DetailedPeerCertificate): X509Certificate[] {
  const sent: X509Certificate[] = []
  let last = certificate as Partial<DetailedPeerCertificate>
  while (sent.length < 8) {
    const issuer: DetailedPeerCertificate | undefined = last.issuerCertificate
    if (issuer === undefined || issuer === last || issuer.raw === undefined) break
    sent.push(new X509Certificate(issuer.raw))
    last = issuer
  }
  return sent
}
