import type { X509Certificate } from 'node:crypto'
import { create } from '@bufbuild/protobuf'
import { durationMs } from '@bufbuild/protobuf/wkt'
import { type IssueRequest, type IssueResponse, IssueResponseSchema } from '../../src/gen/inmesh/v1/ca_pb.js'
import type { Logger } from '../../src/model/logger.ts'
import type { Store } from '../store/store.ts'
import type { Attestation, Attestor, Proof } from './attest/attestor.ts'
import { certificateAttestor } from './attest/certificate.ts'
import { joinTokenAttestor } from './attest/join-token.ts'
import type { Authority } from './authority.ts'
import { readCertificateRequest } from './certificate-request.ts'
import { IssueError } from './issue-error.ts'
import { CSR_MARKER, type RecordStore, recordIssued, recordRefused } from './records.ts'

export interface CaService {
  /**
   * CertificateAuthority.Issue, whatever carried it. `peerCertificate`: of the TLS connection, accepted by TLS; null when
   * the peer showed none.
   *
   * @throws IssueError with the gRPC status of the refusal
   */
  issue(request: IssueRequest, peerCertificate: X509Certificate | null, remoteAddress: string): Promise<IssueResponse>
}

export interface CaServiceOptions {
  readonly authority: Authority
  readonly store: RecordStore & Pick<Store, 'tokens'>
  readonly logger: Logger
}

/** The mesh's authority as workloads see it: proof in, certificate out, each answer and each refusal on record. */
export function createCaService({ authority, store, logger }: CaServiceOptions): CaService {
  const attestors: readonly Attestor[] = [joinTokenAttestor(authority, store), certificateAttestor(authority)]

  const issue = async (request: IssueRequest, proof: Proof): Promise<IssueResponse> => {
    const csr = await readCertificateRequest(request.csr)
    const attestation = await attest(attestors, proof)
    const { spiffeId, service } = attestation
    const foreign = csr.requestedUris.find((uri) => uri !== spiffeId.text)
    if (foreign !== undefined) {
      throw new IssueError(
        'PERMISSION_DENIED',
        `certificate request asks for ${JSON.stringify(foreign.slice(0, 200))}, but the proof is of ${spiffeId.text}`,
      )
    }
    const ttlMs = request.ttl === undefined ? undefined : durationMs(request.ttl)
    const leaf = await authority.sign({ spiffeId, service, spki: csr.spki, ttlMs: ttlMs === 0 ? undefined : ttlMs })
    await recordIssued(store, leaf, attestation, CSR_MARKER, authority.now())
    return create(IssueResponseSchema, {
      chain: [leaf.der, ...authority.intermediates],
      trustBundles: Object.fromEntries(
        [...authority.bundles].map(([domain, certificates]) => [domain, { certificates: [...certificates] }]),
      ),
      spiffeId: spiffeId.text,
    })
  }

  return {
    async issue(request, peerCertificate, remoteAddress) {
      const proof: Proof = { joinToken: request.joinToken, peerCertificate, remoteAddress }
      try {
        return await issue(request, proof)
      } catch (error) {
        if (error instanceof IssueError) {
          const actor = `${attestors.find((a) => a.handles(proof))?.name ?? 'nobody'}@${remoteAddress}`
          logger.warn('certificate refused', { actor, reason: error.message })
          await recordRefused(store, { actor, subject: remoteAddress, detail: error.message }, authority.now())
        }
        throw error
      }
    },
  }
}

async function attest(attestors: readonly Attestor[], proof: Proof): Promise<Attestation> {
  const attestor = attestors.find((a) => a.handles(proof))
  if (attestor === undefined) {
    throw new IssueError('UNAUTHENTICATED', 'no proof of identity: neither a join token nor a client certificate')
  }
  return attestor.attest(proof)
}
