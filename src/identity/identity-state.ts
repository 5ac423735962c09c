import { constants } from 'node:crypto'
import { createSecureContext, type SecureContext, type TLSSocket, type TlsOptions } from 'node:tls'
import { InmeshError } from '../errors.ts'
import type { Peer } from '../model/peer.ts'
import type { TrustBundles } from '../model/snapshot.ts'
import type { IdentityFailure } from './identity-failure.ts'
import type { PeerRole } from './leaf-profile.ts'
import { certificatesToPem } from './trust-bundle.ts'
import { recheckPeer, serverIdentityCheck, type VerifyOptions, verifyPeer } from './verify.ts'
import type { WorkloadIdentity } from './workload-identity.ts'

export interface IdentityChange {
  /** What is new. */
  readonly what: 'identity' | 'bundles' | 'denied'
  readonly epoch: number
}

/** Server name that mesh clients send: constant, so that it tells an onlooker nothing. */
export const MESH_SERVER_NAME = 'inmesh.internal'

/**
 * What this process shows and whom it trusts, at every moment. Each change raises `epoch`; TLS contexts are built once per
 * epoch, and a connection remembers the epoch under which its peer was verified. Fails closed: without identity, or with
 * an expired one, there is no context at all; a bundle that is empty trusts nobody.
 */
export class IdentityState {
  private readonly ownDomain: string
  private readonly now: () => number
  private identity: WorkloadIdentity | undefined
  private trust: TrustBundles = new Map()
  private isDenied: VerifyOptions['denied']
  private changes = 0
  private client: SecureContext | undefined
  private server: SecureContext | undefined
  private readonly listeners = new Set<(change: IdentityChange) => void>()

  /** `trustDomain`: until there is a certificate that says it. `now`: wall clock ms, default Date.now. */
  constructor(options: { trustDomain: string; now?: () => number }) {
    this.ownDomain = options.trustDomain
    this.now = options.now ?? Date.now
  }

  get trustDomain(): string {
    return this.identity?.spiffeId.trustDomain ?? this.ownDomain
  }

  get current(): WorkloadIdentity | undefined {
    return this.identity
  }

  get bundles(): TrustBundles {
    return this.trust
  }

  /** Counts up with every change of identity, bundles or deny list. */
  get epoch(): number {
    return this.changes
  }

  /** Takes a new certificate; handshakes from now on show it, open connections keep theirs. */
  update(identity: WorkloadIdentity): void {
    this.identity = identity
    this.changed('identity')
  }

  /** Takes the bundles of all trust domains, whole: a domain that is left out is not trusted any more. */
  updateBundles(bundles: TrustBundles): void {
    if (sameBundles(this.trust, bundles)) return
    this.trust = new Map(bundles)
    this.changed('bundles')
  }

  /** Takes a new deny list (see VerifyOptions). */
  updateDenied(denied: VerifyOptions['denied']): void {
    this.isDenied = denied
    this.changed('denied')
  }

  /** Calls back after every change, until the returned function is called. */
  onChange(listener: (change: IdentityChange) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /**
   * For `tls.connect({ secureContext })`.
   *
   * @throws InmeshError ERR_INMESH_IDENTITY without a valid certificate
   */
  clientContext(): SecureContext {
    this.requireIdentity()
    this.client ??= createSecureContext(this.contextOptions())
    return this.client
  }

  /**
   * For servers: no session tickets, so no resumption.
   *
   * @throws InmeshError ERR_INMESH_IDENTITY without a valid certificate
   */
  serverContext(): SecureContext {
    this.requireIdentity()
    this.server ??= createSecureContext({ ...this.contextOptions(), secureOptions: constants.SSL_OP_NO_TICKET })
    return this.server
  }

  /**
   * Options for `tls.createServer` that demand a client certificate and show the certificate of the moment of the
   * handshake. Clients that send no server name get the certificate of the call: hand `serverOptions()` to
   * `server.setSecureContext` after each change for those.
   *
   * @throws InmeshError ERR_INMESH_IDENTITY without a valid certificate
   */
  serverOptions(): TlsOptions {
    this.requireIdentity()
    return {
      ...this.contextOptions(),
      secureOptions: constants.SSL_OP_NO_TICKET,
      requestCert: true,
      rejectUnauthorized: true,
      SNICallback: (_name, done) => {
        try {
          done(null, this.serverContext())
        } catch (error) {
          done(error as Error)
        }
      },
    }
  }

  /** `verifyPeer` with the bundles and the deny list of now. */
  verifyPeer(socket: TLSSocket, role: PeerRole, allowedIds?: ReadonlySet<string>): Peer | IdentityFailure {
    return verifyPeer(socket, role, this.trust, this.verifyOptions(allowedIds))
  }

  /** `recheckPeer` with the bundles and the deny list of now: for connections of an older epoch. */
  recheckPeer(peer: Peer, role: PeerRole, allowedIds?: ReadonlySet<string>): IdentityFailure | undefined {
    return recheckPeer(peer, role, this.trust, this.verifyOptions(allowedIds))
  }

  /** `checkServerIdentity` for `tls.connect`; still call `verifyPeer` on the connected socket for the peer itself. */
  serverIdentityCheck(allowedIds?: ReadonlySet<string>): ReturnType<typeof serverIdentityCheck> {
    return serverIdentityCheck(() => this.trust, this.verifyOptions(allowedIds))
  }

  private verifyOptions(allowedIds: ReadonlySet<string> | undefined): VerifyOptions {
    return {
      localTrustDomain: this.trustDomain,
      allowedIds,
      denied: this.isDenied,
      intermediates: this.identity?.chain.slice(1),
      now: this.now,
    }
  }

  private requireIdentity(): WorkloadIdentity {
    if (this.identity === undefined) {
      throw new InmeshError('ERR_INMESH_IDENTITY', 'this process has no certificate yet, so it cannot speak mutual TLS')
    }
    if (this.now() > this.identity.notAfter) {
      const since = new Date(this.identity.notAfter).toISOString()
      throw new InmeshError(
        'ERR_INMESH_IDENTITY',
        `the certificate of ${this.identity.spiffeId.text} expired at ${since}`,
      )
    }
    return this.identity
  }

  private contextOptions(): TlsOptions & { allowPartialTrustChain: boolean } {
    const identity = this.requireIdentity()
    return {
      minVersion: 'TLSv1.3',
      cert: identity.certificateChain,
      key: identity.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      // Always an array: undefined would stand for the public roots. The union of all domains; verifyPeer tells them apart.
      ca: [...this.trust.values()].flatMap((anchors) => anchors.map((der) => certificatesToPem([der]))),
      // SPIFFE lets an anchor be no self-signed certificate.
      allowPartialTrustChain: true,
    }
  }

  private changed(what: IdentityChange['what']): void {
    this.changes++
    this.client = undefined
    this.server = undefined
    for (const listener of [...this.listeners]) listener({ what, epoch: this.changes })
  }
}

function sameBundles(a: TrustBundles, b: TrustBundles): boolean {
  if (a.size !== b.size) return false
  for (const [domain, anchors] of a) {
    const others = b.get(domain)
    if (others === undefined || others.length !== anchors.length) return false
    if (anchors.some((der, i) => !Buffer.from(der).equals(others[i]!))) return false
  }
  return true
}
