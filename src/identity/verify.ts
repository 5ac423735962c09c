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
  /**
   * Intermediate certificates known beforehand, DER: for the path only, never trusted by themselves. Node 24 does not show
   * a server what its clients sent after the leaf; those of the own chain fit most peers of the own domain.
   */
  readonly intermediates?: readonly Uint8Array[] | undefined
  /** Wall clock ms; default Date.now. */
  readonly now?: (() => number) | undefined
}

/** Key of anchors that are good for ids of every trust domain that has none of its own: roots of a plain PEM file. */
export const ANY_TRUST_DOMAIN = '*'

/** DER certificates that a peer sent, leaf first, kept so that it can be judged again when the bundles change. */
const chains = new WeakMap<Peer, readonly Uint8Array[]>()

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
  // Not getPeerX509Certificate(): on a client it takes the chain out of the connection, and the next reader sees none.
  const chain = rawChain(socket.getPeerCertificate(true))
  if (chain.length === 0) return identityFailure('NO_CERTIFICATE', 'peer showed no certificate')
  if (!socket.authorized) {
    return identityFailure('UNTRUSTED', `certificate refused by OpenSSL: ${String(socket.authorizationError)}`)
  }
  const verified = verifyChain(chain, role, bundles, options)
  if ('failure' in verified) return verified
  const peer = peerOf(verified.id, verified.profile, tlsVersion, options.localTrustDomain)
  chains.set(peer, chain)
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
  const chain = chains.get(peer)
  if (chain === undefined) return identityFailure('NO_CERTIFICATE', `${peer.spiffeId} was not verified by this process`)
  const verified = verifyChain(chain, role, bundles, { ...options, walk: true })
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
      const verified = verifyChain(rawChain(certificate), 'server', bundles(), options)
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

/**
 * The part after TLS: profile, bundle, path, lists. `chain` is DER, leaf first, and comes from a connection that OpenSSL has
 * authorized; with `walk` the path is walked even if OpenSSL's verdict is enough.
 */
export function verifyChain(
  chain: readonly Uint8Array[],
  role: PeerRole,
  bundles: TrustBundles,
  options: VerifyOptions & { readonly walk?: boolean },
): { id: SpiffeId; profile: CertificateProfile } | IdentityFailure {
  const [leaf] = chain
  if (leaf === undefined) return identityFailure('NO_CERTIFICATE', 'peer showed no certificate')
  const profile = readCertificateProfile(leaf)
  if ('failure' in profile) return profile
  const id = checkLeaf(profile, role)
  if ('failure' in id) return id
  const now = (options.now ?? Date.now)()
  if (now < profile.notBefore) return identityFailure('EXPIRED', `certificate of ${id.text} is not valid yet`)
  if (now > profile.notAfter) return identityFailure('EXPIRED', `certificate of ${id.text} has expired`)
  const anchors = bundles.get(id.trustDomain) ?? bundles.get(ANY_TRUST_DOMAIN)
  if (anchors === undefined || anchors.length === 0) {
    return identityFailure('NO_BUNDLE', `no trust bundle for ${id.trustDomain}, so ${id.text} is not trusted`)
  }
  if (bundles.size > 1 || options.walk === true) {
    const failure = findPath([...chain, ...(options.intermediates ?? [])], anchors, now)
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

/** What the peer sent, as Node links it by issuer: candidates for the path, every signature is checked there. */
export function rawChain(certificate: PeerCertificate | DetailedPeerCertificate): Uint8Array[] {
  const chain: Uint8Array[] = []
  let last: Partial<DetailedPeerCertificate> | undefined = certificate
  while (last?.raw !== undefined && chain.length < MAX_CHAIN) {
    chain.push(last.raw)
    last = last.issuerCertificate === last ? undefined : last.issuerCertificate
  }
  return chain
}

/** Certificates of one peer that are looked at. */
const MAX_CHAIN = 8
