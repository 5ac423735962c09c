import { createPrivateKey } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { Client, type ClientDuplexStream } from '@grpc/grpc-js'
import {
  type RegisterRequest,
  RegisterRequestSchema,
  type RegisterResponse,
  RegisterResponseSchema,
} from '../../src/gen/inmesh/v1/registry_pb.js'
import { ControlPlaneChannel } from '../../src/identity/control-plane-channel.ts'
import { IdentityState } from '../../src/identity/identity-state.ts'
import { certificatesFromPem, trustAnchorsFromPem } from '../../src/identity/trust-bundle.ts'
import { workloadIdentity } from '../../src/identity/workload-identity.ts'
import { silentLogger } from '../../src/model/logger.ts'
import { AdsClient } from '../discovery/testing/ads-client.ts'
import type { ControlPlaneOptions } from '../options.ts'
import { type ControlPlane, startControlPlane } from '../start.ts'

/** Folders, control planes and clients of one test, gone after it. */
export class Harness {
  readonly #cleanups: (() => Promise<unknown> | unknown)[] = []

  after(cleanup: () => Promise<unknown> | unknown): void {
    this.#cleanups.push(cleanup)
  }

  async cleanUp(): Promise<void> {
    for (const cleanup of this.#cleanups.splice(0).reverse()) await cleanup()
  }

  async folder(): Promise<string> {
    const folder = await mkdtemp(join(tmpdir(), 'inmesh-test-'))
    this.after(() => rm(folder, { recursive: true, force: true }))
    return folder
  }

  async start(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
    const controlPlane = await startControlPlane({
      dataDir: options.dataDir ?? (await this.folder()),
      listen: '127.0.0.1:0',
      admin: '127.0.0.1:0',
      logger: silentLogger,
      ...options,
    })
    this.after(() => controlPlane.close(0))
    return controlPlane
  }

  /** A channel of a workload; without names it is anonymous. */
  async channel(controlPlane: ControlPlane, service?: string, namespace = 'default', serviceAccount = service) {
    const state = new IdentityState({ trustDomain: 'cluster.local' })
    state.updateBundles(new Map([['cluster.local', trustAnchorsFromPem(controlPlane.trustBundlePem, 'test')]]))
    if (service !== undefined) {
      const { certPem, privateKeyPem } = await controlPlane.issueCertificate(service, namespace, serviceAccount!)
      state.update(workloadIdentity(certificatesFromPem(certPem), createPrivateKey(privateKeyPem)))
    }
    return new ControlPlaneChannel(controlPlane.address, state)
  }

  ads(channel: ControlPlaneChannel): AdsClient {
    const client = new AdsClient(channel.address, channel.credentials(), channel.options)
    this.after(() => client.close())
    return client
  }

  registry(channel: ControlPlaneChannel): RegistryStream {
    const stream = new RegistryStream(channel)
    this.after(() => stream.close())
    return stream
  }
}

/** A Register stream that does what a test says. */
export class RegistryStream {
  readonly #client: Client
  readonly call: ClientDuplexStream<RegisterRequest, RegisterResponse>
  readonly ended: Promise<{ code: number; details: string }>

  constructor(channel: ControlPlaneChannel) {
    const options = { ...channel.options, 'grpc.use_local_subchannel_pool': 1 }
    this.#client = new Client(channel.address, channel.credentials(), options)
    this.call = this.#client.makeBidiStreamRequest(
      '/inmesh.v1.WorkloadRegistry/Register',
      (m: RegisterRequest) => Buffer.from(toBinary(RegisterRequestSchema, m)),
      (b: Buffer) => fromBinary(RegisterResponseSchema, b),
    )
    this.ended = new Promise((resolve) => {
      this.call.on('status', ({ code, details }) => resolve({ code, details }))
      this.call.on('error', (error) =>
        resolve({ code: (error as { code?: number }).code ?? -1, details: error.message }),
      )
    })
  }

  /** Registers and waits for the answer. */
  async register(request: MessageInitShape<typeof RegisterRequestSchema>): Promise<RegisterResponse> {
    const answer = new Promise<RegisterResponse>((resolve) => this.call.once('data', resolve))
    this.call.write(create(RegisterRequestSchema, request))
    const result = await Promise.race([answer, this.ended])
    if ('details' in result) throw new Error(`stream ended: ${result.code} ${result.details}`)
    return result
  }

  /** Breaks the connection, as a process that dies does. */
  close(): void {
    this.call.cancel()
    this.#client.close()
  }
}
