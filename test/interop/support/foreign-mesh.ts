import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ServerCredentials } from '@grpc/grpc-js'
import { expect } from 'vitest'
import type { ControlPlane } from '../../../control-plane/index.ts'
import type { LoadRow } from '../../../control-plane/loads/load-table.ts'
import type { EndpointRecord } from '../../../control-plane/store/store.ts'
import type { Harness } from '../../../control-plane/testing/harness.ts'
import { createMesh, type Mesh } from '../../../src/mesh.ts'
import { silentLogger } from '../../../src/model/logger.ts'
import { addEcho, type Backend, startBackend } from './backend.ts'
import { ForeignClient, type Peer } from './foreign-client.ts'

/** What a foreign client is started with; `certificates` = folder with ca.pem, cert.pem and key.pem for mutual TLS. */
export function bootstrap(xdsPort: number, certificates?: string): object {
  const provider = (folder: string) => ({
    default: {
      plugin_name: 'file_watcher',
      config: {
        ca_certificate_file: join(folder, 'ca.pem'),
        certificate_file: join(folder, 'cert.pem'),
        private_key_file: join(folder, 'key.pem'),
        refresh_interval: '5s',
      },
    },
  })
  return {
    xds_servers: [
      { server_uri: `127.0.0.1:${xdsPort}`, channel_creds: [{ type: 'insecure' }], server_features: ['xds_v3'] },
    ],
    // grpc-js-xds wants cluster and locality, and says something else when they are missing.
    node: {
      ...{ id: 'client-1', cluster: 'clients', locality: { zone: 'z' } },
      // Who calls, for rules about callers; on the plaintext port it is believed.
      metadata: { NAMESPACE: 'default', SERVICE: 'frontend', LABELS: { tier: 'web' } },
    },
    ...(certificates === undefined ? {} : { certificate_providers: provider(certificates) }),
  }
}

/** Foreign servers do not register themselves; somebody who knows them does. */
export function endpointOf(service: string, port: number, version = ''): EndpointRecord {
  return {
    ...{ service, namespace: 'default', address: '127.0.0.1', port, locality: '', weight: 1 },
    labels: version === '' ? { app: service } : { app: service, version },
    spiffeId: `spiffe://cluster.local/ns/default/sa/${service}`,
    health: 'HEALTHY',
    instanceId: `${service}-${port}`,
  }
}

/** A control plane in this process, plain gRPC servers, and one foreign client. */
export class ForeignMesh {
  readonly controlPlane: ControlPlane
  readonly client: ForeignClient
  readonly #harness: Harness
  readonly #warnings: readonly string[]

  private constructor(harness: Harness, controlPlane: ControlPlane, client: ForeignClient, warnings: string[]) {
    this.#harness = harness
    this.controlPlane = controlPlane
    this.client = client
    this.#warnings = warnings
  }

  static async start(harness: Harness, peer: Peer): Promise<ForeignMesh> {
    const warnings: string[] = []
    const warn = (text: string, fields = {}) => warnings.push(`${text} ${JSON.stringify(fields)}`)
    const controlPlane = await harness.start({
      ...{ insecureXds: '127.0.0.1:0', loadReportIntervalMs: 1_000 },
      logger: { ...silentLogger, warn },
    })
    const folder = join(await harness.folder(), 'client')
    await mkdir(folder)
    const { certPem, privateKeyPem } = await controlPlane.issueCertificate('foreign', 'default', 'foreign')
    await writeFile(join(folder, 'ca.pem'), controlPlane.trustBundlePem)
    await writeFile(join(folder, 'cert.pem'), certPem)
    await writeFile(join(folder, 'key.pem'), privateKeyPem)
    const client = new ForeignClient(peer, bootstrap(controlPlane.ports.insecureXds!, folder))
    harness.after(() => client.kill())
    return new ForeignMesh(harness, controlPlane, client, warnings)
  }

  /** Plaintext servers of a service, known to the registry: "name" or "name/version". */
  async serve(service: string, ...names: readonly string[]): Promise<Backend[]> {
    const backends = await Promise.all(names.map((name) => this.backend(name.split('/')[0]!)))
    await this.register(
      backends.map((backend, i) => endpointOf(service, backend.port, names[i]!.split('/')[1])),
      [],
    )
    return backends
  }

  async backend(name: string, credentials?: ServerCredentials): Promise<Backend> {
    const backend = await startBackend(name, credentials)
    this.#harness.after(() => backend.stop())
    return backend
  }

  /** A server that takes only clients of the mesh and shows the identity of `service`. */
  async secureBackend(name: string, service: string): Promise<Backend> {
    const { certPem, privateKeyPem } = await this.controlPlane.issueCertificate(service, 'default', service)
    const pair = { private_key: Buffer.from(privateKeyPem), cert_chain: Buffer.from(certPem) }
    const roots = Buffer.from(this.controlPlane.trustBundlePem)
    return this.backend(name, ServerCredentials.createSsl(roots, [pair], true))
  }

  /** A workload of the mesh that serves gRPC. */
  async member(service: string): Promise<Mesh> {
    const { token } = await this.controlPlane.createToken({ service })
    const mesh = await createMesh({
      ...{ service, token, controlPlane: this.controlPlane.address, adminPort: false, logger: silentLogger },
      stateDir: join(await this.#harness.folder(), service),
    })
    this.#harness.after(() => mesh.close({ drainMs: 0, graceMs: 0 }))
    const server = mesh.grpc.server()
    addEcho(server, service)
    await mesh.grpc.listen(server, '127.0.0.1:0')
    await mesh.ready()
    return mesh
  }

  /** Latest load reports about clusters with this text in their names. */
  async loads(cluster: string): Promise<readonly LoadRow[]> {
    const { adminUrl, adminToken } = this.controlPlane
    const headers = { authorization: `Bearer ${adminToken}` }
    const response = await fetch(`${adminUrl}/v1/loads?cluster=${cluster}`, { headers })
    return ((await response.json()) as { items: LoadRow[] }).items
  }

  async register(put: readonly EndpointRecord[], remove: readonly EndpointRecord[]): Promise<void> {
    await this.controlPlane.store.endpoints.change(put, remove)
    await this.served()
  }

  async apply(yaml: string): Promise<void> {
    await this.controlPlane.apply(yaml)
    await this.served()
  }

  async remove(kind: string, name: string): Promise<void> {
    await this.controlPlane.store.apply([{ delete: { kind, namespace: 'default', name } }], { actor: 'test' })
    await this.served()
  }

  /**
   * Every type on every stream has been ACKed in its current form, and nothing was ever refused, not even for a moment.
   */
  async synced(): Promise<void> {
    const states = () =>
      this.controlPlane
        .clients()
        .flatMap(({ types }) => types.map(({ typeUrl, state, reason }) => `${typeUrl} ${state} ${reason}`))
    await expect.poll(() => states().filter((text) => !/ SYNCED $/.test(text)), { timeout: 3_000 }).toEqual([])
    const types = ['Listener', 'RouteConfiguration', 'Cluster', 'ClusterLoadAssignment']
    for (const type of types) expect(states().some((text) => text.includes(`.${type} `))).toBe(true)
    expect(this.#warnings).toEqual([])
  }

  async served(): Promise<void> {
    const { revision } = await this.controlPlane.store.snapshot()
    await expect.poll(() => this.controlPlane.revision()).toMatchObject({ revision, error: '' })
  }
}
