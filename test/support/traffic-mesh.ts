import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MeshDefinition } from '../../src/index.ts'
import { createMesh, getPeer, type Mesh, type Problem, silentLogger } from '../../src/index.ts'
import type { MeshOptions } from '../../src/options.ts'

/** What an echo server says about a request that it got. */
export interface Echo {
  readonly service: string
  readonly version: string
  readonly method: string
  readonly url: string
  readonly host: string
  readonly headers: Readonly<Record<string, string>>
  readonly peer: string | null
  readonly body: string
}

/** A mesh whose control plane is embedded: on a folder of YAML, or on a definition. All in this process, over real sockets. */
export class TrafficMesh {
  readonly folder = mkdtempSync(join(tmpdir(), 'inmesh-traffic-'))
  readonly problems: Problem[] = []
  /** Requests that servers saw, in order. */
  readonly seen: Echo[] = []
  readonly #source: string | { embedded: MeshDefinition }
  readonly #meshes: Mesh[] = []
  readonly #failures = new Map<string, number>()

  constructor(source: string | MeshDefinition) {
    if (typeof source !== 'string') this.#source = { embedded: source }
    else {
      this.#source = `embedded:${this.folder}`
      this.write('mesh.yaml', source)
    }
  }

  write(name: string, yaml: string): string {
    const file = join(this.folder, name)
    writeFileSync(file, yaml)
    return file
  }

  async join(service: string, options: MeshOptions = {}): Promise<Mesh> {
    const mesh = await createMesh({
      service,
      controlPlane: this.#source,
      adminPort: false,
      logger: silentLogger,
      handleSignals: false,
      ...options,
    })
    this.#meshes.push(mesh)
    mesh.on('problem', (problem) => this.problems.push(problem))
    return mesh
  }

  /**
   * An echo server. Headers of the request say what it does instead: `x-status: 503`, `x-fail: KEY=N` (the first N requests
   * with that key get 503, over all servers), `x-wait: 50` (ms), `x-hang: 1` (no answer). With `x-only: v1` that is for servers
   * of one version.
   */
  async serve(service: string, version = 'v1', options: MeshOptions = {}): Promise<{ mesh: Mesh; port: number }> {
    const mesh = await this.join(service, { labels: { version }, ...options })
    const { port } = await mesh
      .createServer((req, res) => void this.#answer(service, version, req, res))
      .listen(0, '127.0.0.1')
    await mesh.ready()
    return { mesh, port }
  }

  async #answer(service: string, version: string, req: IncomingMessage, res: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of req.setEncoding('utf8')) body += String(chunk)
    const headers = Object.fromEntries(Object.entries(req.headers).map(([name, value]) => [name, String(value)]))
    const { method = '', url = '' } = req
    const peer = getPeer(req)?.spiffeId ?? null
    const echo: Echo = { service, version, method, url, host: req.headers.host ?? '', headers, peer, body }
    this.seen.push(echo)
    const asked = headers['x-only'] === undefined || headers['x-only'] === version ? headers : {}
    const [key = '', times = '0'] = (asked['x-fail'] ?? '').split('=')
    const failed = this.#failures.get(key) ?? 0
    if (key !== '') this.#failures.set(key, failed + 1)
    if (asked['x-hang'] !== undefined) return
    if (asked['x-wait'] !== undefined) await new Promise((resolve) => setTimeout(resolve, Number(asked['x-wait'])))
    const status = key !== '' && failed < Number(times) ? 503 : Number(asked['x-status'] ?? 200)
    res.writeHead(status, { 'content-type': 'application/json', 'x-version': version })
    res.end(JSON.stringify(echo))
  }

  async close(): Promise<void> {
    await Promise.all(this.#meshes.map((mesh) => mesh.close({ drainMs: 0, graceMs: 0 })))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What a caller sees of an answer; `echo` when a server gave it. */
export interface Seen {
  readonly status: number
  readonly flags: string | null
  readonly details: string | null
  readonly headers: Headers
  readonly text: string
  readonly echo: Echo | null
}

export async function call(mesh: Mesh, url: string, init: RequestInit = {}): Promise<Seen> {
  const response = await mesh.fetch(url, { redirect: 'manual', ...init } as never)
  const text = await response.text()
  const { status, headers } = response
  return {
    status,
    flags: headers.get('x-inmesh-response-flags'),
    details: headers.get('x-inmesh-response-details'),
    headers: headers as unknown as Headers,
    text,
    echo: headers.get('content-type') === 'application/json' ? (JSON.parse(text) as Echo) : null,
  }
}

/** Counts by what `of` makes of each, over `count` calls one after the other. */
export async function tally(count: number, of: () => Promise<string>): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (let i = 0; i < count; i++) {
    const what = await of()
    counts[what] = (counts[what] ?? 0) + 1
  }
  return counts
}
