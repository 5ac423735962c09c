import { mkdtempSync, rmSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ControlPlane, type ControlPlaneOptions, startControlPlane } from '../../control-plane/index.ts'
import { createMesh, type Mesh } from '../../src/mesh.ts'
import { silentLogger } from '../../src/model/logger.ts'
import type { MeshOptions } from '../../src/options.ts'

/** A real control plane and real meshes, all in this process: everything but the process boundary. */
export class Shop {
  readonly folder = mkdtempSync(join(tmpdir(), 'inmesh-shop-'))
  plane!: ControlPlane
  readonly #meshes = new Set<Mesh>()
  readonly #options: ControlPlaneOptions

  private constructor(options: ControlPlaneOptions) {
    this.#options = options
  }

  static async open(options: ControlPlaneOptions = {}): Promise<Shop> {
    const shop = new Shop(options)
    await shop.startPlane()
    return shop
  }

  async startPlane(): Promise<void> {
    const listen = this.plane === undefined ? '127.0.0.1:0' : this.plane.address
    this.plane = await startControlPlane({
      dataDir: join(this.folder, 'control-plane'),
      listen,
      admin: '127.0.0.1:0',
      logger: silentLogger,
      registrationGraceMs: 500,
      ...this.#options,
    })
  }

  /** Joins as `service`; a token is made unless one is given. */
  async mesh(service: string, options: MeshOptions = {}): Promise<Mesh> {
    const token = options.token ?? (await this.plane.createToken({ service })).token
    return this.rejoin(service, { token, ...options })
  }

  /** Joins with what the state directory holds, or with `options.token`. */
  async rejoin(service: string, options: MeshOptions = {}): Promise<Mesh> {
    const mesh = await createMesh({
      service,
      controlPlane: this.plane.address,
      stateDir: join(this.folder, service),
      adminPort: false,
      logger: silentLogger,
      ...options,
    })
    this.#meshes.add(mesh)
    return mesh
  }

  /** A workload that serves; ready when others can find it. */
  async serve(service: string, listener: RequestListener, options: MeshOptions = {}) {
    const mesh = await this.mesh(service, options)
    const server = mesh.createServer(listener)
    const { port } = await server.listen(0, '127.0.0.1')
    await mesh.ready()
    return { mesh, server, port }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#meshes].map((mesh) => mesh.close({ drainMs: 0, graceMs: 100 })))
    await this.plane.close(0)
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** Looks until it is so; what time-outs are measured against is far away. */
export async function eventually<T>(
  look: () => Promise<T> | T,
  good: (value: T) => boolean,
  withinMs = 10_000,
): Promise<T> {
  const end = performance.now() + withinMs
  for (;;) {
    const value = await look()
    if (good(value) || performance.now() > end) return value
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
