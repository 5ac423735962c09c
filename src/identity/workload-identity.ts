import { type KeyObject, X509Certificate } from 'node:crypto'
import { InmeshError } from '../errors.ts'
import { readCertificateProfile } from './certificate-profile.ts'
import { checkLeaf } from './leaf-profile.ts'
import type { SpiffeId } from './spiffe-id.ts'
import { certificatesToPem } from './trust-bundle.ts'

/** The certificate that a process shows, and its key. */
export interface WorkloadIdentity {
  readonly spiffeId: SpiffeId
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array[]
  /** The same as PEM. */
  readonly certificateChain: string
  readonly privateKey: KeyObject
  /** Hexadecimal, lower case. */
  readonly serialNumber: string
  /** Wall clock ms. */
  readonly notBefore: number
  readonly notAfter: number
  /** When this workload got it, wall clock ms by its own clock; authorities set notBefore some minutes back. */
  readonly issuedAt: number
}

/**
 * An identity of a chain and the key that belongs to its leaf. Looks at the leaf's profile in both roles, not at time or trust.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY when the chain is empty or unreadable, the leaf is none of a workload, or the key is another's
 */
export function workloadIdentity(
  chain: readonly Uint8Array[],
  privateKey: KeyObject,
  issuedAt?: number,
): WorkloadIdentity {
  const leaf = chain[0]
  if (leaf === undefined) throw new InmeshError('ERR_INMESH_IDENTITY', 'certificate chain is empty')
  const profile = readCertificateProfile(leaf)
  if ('failure' in profile) throw new InmeshError('ERR_INMESH_IDENTITY', profile.message)
  const asServer = checkLeaf(profile, 'server')
  if ('failure' in asServer) throw new InmeshError('ERR_INMESH_IDENTITY', asServer.message)
  const asClient = checkLeaf(profile, 'client')
  if ('failure' in asClient) throw new InmeshError('ERR_INMESH_IDENTITY', asClient.message)
  const certificates = chain.map((der) => {
    try {
      return new X509Certificate(der)
    } catch (error) {
      throw new InmeshError('ERR_INMESH_IDENTITY', 'certificate chain cannot be read', { cause: error })
    }
  })
  if (!certificates[0]!.checkPrivateKey(privateKey)) {
    throw new InmeshError(
      'ERR_INMESH_IDENTITY',
      `the private key does not belong to the certificate of ${asServer.text}`,
    )
  }
  return {
    spiffeId: asServer,
    chain,
    certificateChain: certificatesToPem(chain),
    privateKey,
    serialNumber: profile.serialNumber,
    notBefore: profile.notBefore,
    notAfter: profile.notAfter,
    issuedAt: Math.max(profile.notBefore, issuedAt ?? profile.notBefore),
  }
}
