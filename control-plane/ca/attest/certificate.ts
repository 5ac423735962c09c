import type { X509Certificate } from 'node:crypto'
import { verifyChain } from '../../../src/identity/verify.ts'
import type { Authority } from '../authority.ts'
import { IssueError } from '../issue-error.ts'
import type { Attestor } from './attestor.ts'

/** Proof of a workload that has a certificate: the certificate itself, for the same id. */
export function certificateAttestor(authority: Authority): Attestor {
  return {
    name: 'certificate',
    handles: (proof) => proof.peerCertificate !== null && proof.joinToken === '',
    async attest({ peerCertificate }) {
      const leaf = peerCertificate as X509Certificate
      // TLS has verified it when the connection was made; it may have expired since.
      const verified = verifyChain([leaf.raw, ...authority.intermediates], 'client', authority.bundles, {
        localTrustDomain: authority.trustDomain,
        now: authority.now,
        walk: true,
      })
      if ('failure' in verified) throw new IssueError('UNAUTHENTICATED', verified.message)
      const { id, profile } = verified
      const service = commonName(leaf) ?? id.serviceAccount
      return { spiffeId: id, service, requester: `certificate:${profile.serialNumber}` }
    },
  }
}

/** Our leaves carry the service's name there. It names the record, not the identity. */
function commonName(certificate: X509Certificate): string | undefined {
  const line = certificate.subject?.split('\n').find((part) => part.startsWith('CN='))
  return line?.slice(3)
}
