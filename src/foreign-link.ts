import { join } from 'node:path'
import { systemRandom } from './engine/random.ts'
import { IdentityState } from './identity/identity-state.ts'
import { FileIdentity } from './identity/sources/file-identity.ts'
import type { MeshEvents } from './mesh-events.ts'
import type { MeshLink } from './mesh-link.ts'
import type { CertificateFiles } from './model/certificate-files.ts'
import { systemClock } from './model/clock.ts'
import type { Snapshot } from './model/snapshot.ts'
import type { ForeignOptions, ResolvedOptions } from './options.ts'
import { version } from './version.ts'
import type { XdsServer } from './xds/ads-link.ts'
import type { Bootstrap, XdsServerConfig } from './xds/bootstrap/bootstrap.ts'
import { ListenerNames } from './xds/bootstrap/listener-names.ts'
import { serverTarget } from './xds/bootstrap/server-target.ts'
import { ResourceCache } from './xds/cache.ts'
import { XdsClient } from './xds/client.ts'
import { grpcTransport } from './xds/grpc-transport.ts'
import { workloadNode, type XdsNode } from './xds/node.ts'

/**
 * All that a process has to do with a control plane that is not inmesh's: configuration over xDS as gRPC's own clients take it.
 * The certificate comes from files (gRFC A29); nothing is registered.
 */
export class ForeignLink implements MeshLink {
  readonly identity: IdentityState
  readonly xds: XdsClient
  readonly registry = null
  readonly refusesServers: string | null
  readonly #names: ListenerNames
  readonly #files: FileIdentity | null
  readonly #hasCertificate: boolean

  constructor(
    options: ResolvedOptions,
    { bootstrap, stateDir }: ForeignOptions,
    events: MeshEvents,
    onSnapshot: (snapshot: Snapshot) => void,
  ) {
    const { workload, logger } = options
    for (const warning of bootstrap.warnings) logger.warn(warning)
    this.identity = new IdentityState({ trustDomain: workload.trustDomain })
    const own = ownProvider(bootstrap)
    this.#files = own === null ? null : new FileIdentity({ state: this.identity, files: own.files, logger })
    this.#hasCertificate = own !== null && own.files.certificate !== null
    this.#names = new ListenerNames(bootstrap)
    this.refusesServers =
      bootstrap.serverTemplate === null
        ? 'the bootstrap has no server_listener_resource_name_template, so no server can be told what to enforce'
        : null
    this.xds = new XdsClient({
      node: nodeOf(bootstrap, options),
      transport: bootstrap.servers.map(serverOf),
      authorities: new Map(
        [...bootstrap.authorities].map(([name, { servers }]) => [
          name,
          (servers.length === 0 ? bootstrap.servers : servers).map(serverOf),
        ]),
      ),
      dialect: {
        providers: bootstrap.certificateProviders,
        serverIdentity: own?.identity ?? null,
        serverRoots: own?.roots ?? null,
      },
      listenerName: (authority) => this.#names.client(authority),
      clock: systemClock,
      random: systemRandom,
      logger,
      ...(stateDir === null ? {} : { cache: new ResourceCache({ path: join(stateDir, 'foreign-snapshot'), logger }) }),
      events: {
        connection: (connected, reason) => events.emit('connected', { connected, reason }),
        nack: (nack) => events.emit('nack', nack),
        warning: (warning) => events.emit('warning', warning),
      },
      onSnapshot: (snapshot) => {
        onSnapshot(snapshot)
        events.emit('config', { sequence: snapshot.sequence })
      },
    })
    this.identity.onChange(({ what }) => {
      const { current } = this.identity
      if (what !== 'identity' || current === undefined) return
      const { spiffeId, serialNumber, notAfter } = current
      events.emit('certificate', { spiffeId: spiffeId.text, serialNumber, notAfter })
    })
  }

  get needsIdentity(): boolean {
    return this.#hasCertificate && this.#files?.namesNobody === undefined
  }

  get problem(): string | undefined {
    return this.#files?.lastFailure?.message
  }

  inboundName({ address, port }: { readonly address: string; readonly port: number }): string {
    // Without a template there are no servers.
    return this.#names.server(address, port) ?? ''
  }

  start(): Promise<void> {
    this.#files?.start()
    this.xds.start()
    return Promise.resolve()
  }

  async close(): Promise<void> {
    this.#files?.close()
    await this.xds.close()
  }
}

/**
 * The files of this process's own identity: of the first instance with a certificate (the one called "default" before others), with
 * the roots of the same instance, else of the first that has any. A process has one identity.
 */
function ownProvider({ certificateProviders }: Bootstrap): {
  readonly files: CertificateFiles
  readonly identity: string | null
  readonly roots: string | null
} | null {
  const all = [...certificateProviders].sort(([a], [b]) => Number(b === 'default') - Number(a === 'default'))
  const identity = all.find(([, files]) => files.certificate !== null)
  const roots = identity !== undefined && identity[1].roots !== null ? identity : all.find(([, f]) => f.roots !== null)
  if (identity === undefined && roots === undefined) return null
  return {
    identity: identity?.[0] ?? null,
    roots: roots?.[0] ?? null,
    files: {
      certificate: identity?.[1].certificate ?? null,
      roots: roots?.[1].roots ?? null,
      refreshMs: Math.min(...[identity, roots].map((entry) => entry?.[1].refreshMs ?? Number.POSITIVE_INFINITY)),
    },
  }
}

function serverOf(config: XdsServerConfig): XdsServer {
  const onError = config.failOnDataErrors ? 'drop' : 'keep'
  return {
    name: config.uri,
    transport: grpcTransport(() => serverTarget(config)),
    errors: { deletion: onError, refusal: onError, timerIsTransient: config.timerIsTransient },
  }
}

/** Its certificates come from files and its listeners are gRPC's: inmesh's own control plane has to see that as well. */
const userAgent = 'gRPC inmesh'

/** What the bootstrap says; without a node in it, this workload as inmesh's own control plane would know it. */
function nodeOf({ node }: Bootstrap, { workload }: ResolvedOptions): XdsNode {
  if (node.id === '')
    return {
      ...workloadNode(workload, version),
      ...(node.cluster === '' ? {} : node),
      id: workload.instanceId,
      userAgent,
    }
  return { ...node, version, userAgent }
}
