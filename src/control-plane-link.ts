import { join } from 'node:path'
import { systemRandom } from './engine/random.ts'
import { InmeshError } from './errors.ts'
import { CertificateRotation } from './identity/certificate-rotation.ts'
import { ControlPlaneChannel } from './identity/control-plane-channel.ts'
import { identityFilePath } from './identity/identity-file.ts'
import { IdentityState } from './identity/identity-state.ts'
import { type JoinToken, parseJoinToken } from './identity/join-token.ts'
import { createCsrSource } from './identity/sources/csr-source.ts'
import { parseSpiffeId } from './identity/spiffe-id.ts'
import type { MeshEvents } from './mesh-events.ts'
import type { MeshLink } from './mesh-link.ts'
import { type Clock, systemClock } from './model/clock.ts'
import type { Snapshot } from './model/snapshot.ts'
import { spiffeIdOf } from './model/workload.ts'
import type { ResolvedOptions } from './options.ts'
import { RegistryClient } from './registry/client.ts'
import { version } from './version.ts'
import { ResourceCache } from './xds/cache.ts'
import { XdsClient } from './xds/client.ts'
import { grpcTransport } from './xds/grpc-transport.ts'
import { workloadNode } from './xds/node.ts'
import { inboundListenerName } from './xds/proto.ts'

/**
 * All that a process has to do with the control plane: its certificate, its configuration, its registration. Each lives on
 * without it: the certificate until it expires, the configuration from memory and disk, the registration until the process ends.
 */
export class ControlPlaneLink implements MeshLink {
  readonly identity: IdentityState
  readonly xds: XdsClient
  readonly registry: RegistryClient
  readonly needsIdentity = true
  readonly refusesServers = null
  readonly #rotation: CertificateRotation
  readonly #stopListening: () => void
  #started: Promise<void> | null = null

  /** @throws InmeshError ERR_INMESH_INVALID_OPTION for a join token that is none */
  constructor(options: ResolvedOptions, events: MeshEvents, onSnapshot: (snapshot: Snapshot) => void) {
    const { workload, logger } = options
    const clock: Clock = systemClock
    const random = systemRandom
    const token = readToken(options.token)
    const spiffeId = parseSpiffeId(spiffeIdOf(workload))
    if ('failure' in spiffeId) throw new InmeshError('ERR_INMESH_INVALID_OPTION', spiffeId.message)
    this.identity = new IdentityState({ trustDomain: workload.trustDomain })
    if (typeof options.controlPlane !== 'string') throw new TypeError('an embedded control plane has no address yet')
    const channel = new ControlPlaneChannel(options.controlPlane, this.identity)
    const transport = grpcTransport(() => ({
      target: channel.address,
      credentials: channel.credentials(),
      options: channel.options,
    }))
    this.#rotation = new CertificateRotation({
      state: this.identity,
      source: createCsrSource({
        channel,
        spiffeId,
        service: workload.service,
        token,
        trustBundleFile: options.trustBundleFile,
      }),
      file: identityFilePath(options.stateDir),
      spiffeId,
      token,
      logger,
      random,
    })
    this.xds = new XdsClient({
      node: workloadNode(workload, version),
      transport,
      clock,
      random,
      logger,
      cache: new ResourceCache({ path: join(options.stateDir, 'snapshot'), logger }),
      events: {
        connection: (connected, reason) => events.emit('connected', { connected, reason }),
        nack: (nack) => events.emit('nack', nack),
        warning: (warning) => events.emit('warning', warning),
      },
      onSnapshot: (snapshot) => {
        if (snapshot.trustBundles.size > 0) this.identity.updateBundles(snapshot.trustBundles)
        onSnapshot(snapshot)
        events.emit('config', { sequence: snapshot.sequence })
      },
    })
    this.registry = new RegistryClient({ instanceId: workload.instanceId, transport, clock, random, logger })
    this.#stopListening = this.identity.onChange((change) => {
      if (change.what !== 'identity') return
      // The streams were opened with the certificate before; the control plane ends them when that one expires.
      this.xds.reconnect()
      this.registry.reconnect()
      const { current } = this.identity
      if (current !== undefined) {
        events.emit('certificate', {
          spiffeId: current.spiffeId.text,
          serialNumber: current.serialNumber,
          notAfter: current.notAfter,
        })
      }
    })
  }

  /** Resolves with the first certificate; rejects when the authority refuses. Idempotent. */
  start(): Promise<void> {
    this.#started ??= this.#start()
    return this.#started
  }

  /** Why there is no certificate; undefined when there is one or the first attempt is under way. */
  get problem(): string | undefined {
    return this.#rotation.lastFailure?.message
  }

  inboundName(_bound: unknown, { address, port }: { readonly address: string; readonly port: number }): string {
    return inboundListenerName(address, port)
  }

  async #start(): Promise<void> {
    this.xds.watchTrustBundle()
    await this.#rotation.start()
    this.xds.start()
  }

  async close(): Promise<void> {
    this.#stopListening()
    await this.registry.close()
    await Promise.all([this.xds.close(), this.#rotation.close()])
  }
}

function readToken(text: string | null): JoinToken | null {
  if (text === null || text === '') return null
  const token = parseJoinToken(text)
  if ('failure' in token)
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `token (or INMESH_TOKEN): ${token.message}`)
  return token
}
