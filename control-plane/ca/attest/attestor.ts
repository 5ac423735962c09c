import type { X509Certificate } from 'node:crypto'
import type { SpiffeId } from '../../../src/identity/spiffe-id.ts'

/** What a requester shows to prove who it is. */
export interface Proof {
  /** '' = none. */
  readonly joinToken: string
  /** The certificate of the TLS connection, accepted by TLS; null = an anonymous connection. */
  readonly peerCertificate: X509Certificate | null
  readonly remoteAddress: string
}

export interface Attestation {
  readonly spiffeId: SpiffeId
  readonly service: string
  /** For records and audit: "join-token:<id>", "certificate:<serial>". */
  readonly requester: string
}

/** One kind of proof; one file per kind. The identity comes from the proof and from nothing else. */
export interface Attestor {
  readonly name: string
  /** Whether the request carries this kind of proof. */
  handles(proof: Proof): boolean
  /** @throws IssueError when the proof does not hold */
  attest(proof: Proof): Promise<Attestation>
}
