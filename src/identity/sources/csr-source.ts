import type { KeyObject } from 'node:crypto'
import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { Client, type ServiceError, status } from '@grpc/grpc-js'
import { InmeshError } from '../../errors.ts'
import {
  type IssueRequest,
  IssueRequestSchema,
  type IssueResponse,
  IssueResponseSchema,
} from '../../gen/inmesh/v1/ca_pb.js'
import { bootstrapTrust } from '../bootstrap-trust.ts'
import { findPath } from '../certificate-path.ts'
import type { ControlPlaneChannel } from '../control-plane-channel.ts'
import { createCsr, createPrivateKey, type KeyAlgorithm } from '../csr.ts'
import type { JoinToken } from '../join-token.ts'
import { RefusedError } from '../refused-error.ts'
import type { SpiffeId } from '../spiffe-id.ts'
import { trustBundles } from '../trust-bundle.ts'
import { type WorkloadIdentity, workloadIdentity } from '../workload-identity.ts'
import type { CertificateSource, IssuedIdentity } from './source.ts'

export interface CsrSourceOptions {
  readonly channel: ControlPlaneChannel
  /** The id this process should get; the authority decides, a certificate of another id is not taken. */
  readonly spiffeId: SpiffeId
  readonly service: string
  /** Proof for the first certificate; later ones are proven by the certificate itself. */
  readonly token: JoinToken | null
  /** PEM file with the roots of the mesh; null = the root that the token names. */
  readonly trustBundleFile: string | null
  readonly keyAlgorithm?: KeyAlgorithm
  /** Wished lifetime, ms; default what the authority gives. */
  readonly ttlMs?: number
  /** Of one request, ms; default 5,000. */
  readonly timeoutMs?: number
}

const ISSUE = '/inmesh.v1.CertificateAuthority/Issue'

/** Codes after which the same request will be refused again. */
const REFUSALS: readonly number[] = [
  status.UNAUTHENTICATED,
  status.PERMISSION_DENIED,
  status.INVALID_ARGUMENT,
  status.UNIMPLEMENTED,
]

/**
 * Certificates from the mesh's own authority: a fresh key and a CSR per certificate; the key never leaves the process. The
 * first certificate is proven by a join token, every later one by its predecessor.
 */
export function createCsrSource(options: CsrSourceOptions): CertificateSource {
  const { channel, spiffeId } = options
  const { state } = channel
  let token = options.token

  /** Trust before the first certificate; afterwards the bundles come with each certificate and over xDS. */
  const ensureTrust = async (): Promise<void> => {
    if ((state.bundles.get(state.trustDomain)?.length ?? 0) > 0) return
    const { trustBundleFile, timeoutMs } = options
    const anchors = await bootstrapTrust({ address: channel.address, trustBundleFile, token, timeoutMs })
    state.updateBundles(new Map([...state.bundles, [state.trustDomain, anchors]]))
  }

  const request = async (joinToken: string): Promise<IssuedIdentity> => {
    const key = await createPrivateKey(options.keyAlgorithm)
    const response = await issue(channel, options.timeoutMs ?? 5_000, {
      csr: createCsr(key, spiffeId.text, options.service.slice(0, 64)),
      joinToken,
      ttlMs: options.ttlMs,
    })
    return accept(response, key, spiffeId)
  }

  return {
    async obtain() {
      await ensureTrust()
      const current = state.current
      if (current !== undefined && current.notAfter > Date.now()) {
        try {
          return await request('')
        } catch (error) {
          if (!(error instanceof RefusedError) || token === null) throw error
        }
      }
      if (token === null) {
        throw new RefusedError(
          `no valid certificate of ${spiffeId.text} and no join token to get one: set INMESH_TOKEN (see "inmesh token create")`,
        )
      }
      const issued = await request(token.text)
      token = null // used up
      return issued
    },
  }
}

/** Takes only what fits: our key, the id that was asked for, a path to the bundle that came along. */
function accept(response: IssueResponse, key: KeyObject, expected: SpiffeId): IssuedIdentity {
  const bundles = trustBundles(
    Object.entries(response.trustBundles).map(([domain, anchors]) => [domain, anchors.certificates] as const),
    'answer of the certificate authority',
  )
  const identity: WorkloadIdentity = workloadIdentity(response.chain, key, Date.now())
  if (identity.spiffeId.text !== expected.text) {
    throw new RefusedError(
      `the proof belongs to ${identity.spiffeId.text}, but this process is to be ${expected.text}: check service, namespace and service account`,
    )
  }
  if (identity.notAfter <= identity.issuedAt) {
    throw new InmeshError(
      'ERR_INMESH_IDENTITY',
      "the certificate is expired on arrival: this clock and the authority's differ",
    )
  }
  const untrusted = findPath(response.chain, bundles.get(expected.trustDomain) ?? [], Date.now())
  if (untrusted !== undefined) {
    throw new InmeshError('ERR_INMESH_IDENTITY', `certificate from the authority: ${untrusted.message}`)
  }
  return { identity, bundles }
}

async function issue(
  channel: ControlPlaneChannel,
  timeoutMs: number,
  wish: { csr: Uint8Array; joinToken: string; ttlMs: number | undefined },
): Promise<IssueResponse> {
  const { csr, joinToken, ttlMs } = wish
  const message = create(IssueRequestSchema, {
    csr,
    joinToken,
    ...(ttlMs !== undefined && { ttl: durationFromMs(ttlMs) }),
  })
  const client = new Client(channel.address, channel.credentials(), channel.options)
  const { promise, resolve, reject } = Promise.withResolvers<IssueResponse>()
  client.makeUnaryRequest<IssueRequest, IssueResponse>(
    ISSUE,
    (m) => Buffer.from(toBinary(IssueRequestSchema, m)),
    (bytes) => fromBinary(IssueResponseSchema, bytes),
    message,
    { deadline: Date.now() + timeoutMs },
    (error, response) => {
      if (error === null && response !== undefined) resolve(response)
      else reject(asInmeshError(error, channel.address))
    },
  )
  try {
    return await promise
  } finally {
    client.close()
  }
}

function asInmeshError(error: ServiceError | null, address: string): InmeshError {
  if (error === null) return new InmeshError('ERR_INMESH_CONTROL_PLANE', `${address} answered with nothing`)
  if (REFUSALS.includes(error.code)) {
    return new RefusedError(`the certificate authority at ${address} refused: ${error.details}`, { cause: error })
  }
  return new InmeshError('ERR_INMESH_CONTROL_PLANE', `certificate authority at ${address}: ${error.details}`, {
    cause: error,
  })
}
