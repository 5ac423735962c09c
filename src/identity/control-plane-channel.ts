import { createSecureContext } from 'node:tls'
import { ChannelCredentials, type ChannelOptions } from '@grpc/grpc-js'
import { InmeshError } from '../errors.ts'
import { type IdentityState, MESH_SERVER_NAME } from './identity-state.ts'
import { controlPlaneSpiffeId } from './spiffe-id.ts'
import { certificatesToPem } from './trust-bundle.ts'
import { serverIdentityCheck } from './verify.ts'

/**
 * How to reach the control plane: gRPC over TLS 1.3 with the certificate of now, if there is a valid one, to a server that
 * must be spiffe://<trust domain>/ns/istio-system/sa/inmesh of a root of the own trust domain.
 *
 *     const channel = new ControlPlaneChannel('127.0.0.1:15012', state)
 *     new Client(channel.address, channel.credentials(), channel.options)
 *
 * grpc-js keeps the credentials of a channel for its life: after a change of `state.epoch` make a new client.
 */
export class ControlPlaneChannel {
  /** "host:port". */
  readonly address: string
  readonly state: IdentityState
  /** A constant server name: ids are verified, not names. */
  readonly options: ChannelOptions = {
    'grpc.ssl_target_name_override': MESH_SERVER_NAME,
    'grpc.default_authority': MESH_SERVER_NAME,
  }
  private built:
    | { readonly epoch: number; readonly expires: number; readonly credentials: ChannelCredentials }
    | undefined

  constructor(address: string, state: IdentityState) {
    this.address = address
    this.state = state
  }

  /**
   * Credentials of the present epoch; the same object until it changes. Without a valid certificate the connection is
   * anonymous, which is enough for the certificate authority and for nothing else.
   *
   * @throws InmeshError ERR_INMESH_IDENTITY when no root of the own trust domain is known
   */
  credentials(): ChannelCredentials {
    const now = Date.now()
    if (this.built?.epoch === this.state.epoch && now < this.built.expires) return this.built.credentials
    const { trustDomain, current, bundles, epoch } = this.state
    const anchors = bundles.get(trustDomain) ?? []
    if (anchors.length === 0) {
      throw new InmeshError(
        'ERR_INMESH_IDENTITY',
        `no root of ${trustDomain} is known, so no control plane can be trusted`,
      )
    }
    const expected = controlPlaneSpiffeId(trustDomain)
    if ('failure' in expected) throw new InmeshError('ERR_INMESH_IDENTITY', expected.message)
    const valid = current !== undefined && now < current.notAfter
    const context = createSecureContext({
      minVersion: 'TLSv1.3',
      // Only the own domain's roots: a federated one can not speak for our control plane.
      ca: [certificatesToPem(anchors)],
      allowPartialTrustChain: true,
      ...(valid && {
        cert: current.certificateChain,
        key: current.privateKey.export({ type: 'pkcs8', format: 'pem' }),
      }),
    })
    const own = new Map([[trustDomain, anchors]])
    const checkServerIdentity = serverIdentityCheck(() => own, {
      localTrustDomain: trustDomain,
      allowedIds: new Set([expected.text]),
    })
    const credentials = ChannelCredentials.createFromSecureContext(context, { checkServerIdentity })
    this.built = { epoch, expires: valid ? current.notAfter : Number.POSITIVE_INFINITY, credentials }
    return credentials
  }
}
