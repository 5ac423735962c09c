import { type ChildProcess, fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { startControlPlane } from 'inmesh/control-plane'

/** A control plane in this process and services in processes of their own, for measuring what a mesh costs as a whole. */
export async function startMesh() {
  const folder = mkdtempSync(join(tmpdir(), 'inmesh-bench-'))
  const plane = await startControlPlane({
    dataDir: join(folder, 'control-plane'),
    listen: '127.0.0.1:0',
    admin: '127.0.0.1:0',
  })
  const children: Child[] = []
  const child = async (kind: 'bare' | 'meshed', name: string, env: Record<string, string>) => {
    const started = new Child(kind, { ...env, BENCH_NAME: name })
    children.push(started)
    await started.ask('ready')
    return started
  }
  return {
    child,
    /** Joins the mesh, listens, and has called payments. */
    async service(name: string): Promise<Child> {
      const token = await plane.createToken({ service: name })
      return child('meshed', name, {
        INMESH_SERVICE: name,
        INMESH_CONTROL_PLANE: plane.address,
        INMESH_TOKEN: token.token,
        INMESH_STATE_DIR: join(folder, name),
      })
    },
    async apply(text: string): Promise<void> {
      const response = await fetch(`${plane.adminUrl}/v1/apply`, {
        method: 'POST',
        headers: { authorization: `Bearer ${plane.adminToken}`, 'content-type': 'application/yaml' },
        body: text,
      })
      if (!response.ok) throw new Error(await response.text())
    },
    async close(): Promise<void> {
      for (const c of children) c.stop()
      await plane.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

/** A process of service.ts, with a wire for questions. */
export class Child {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>()
  #last = 0

  constructor(kind: string, env: Record<string, string>) {
    this.#process = fork(join(import.meta.dirname, 'service.ts'), [kind], {
      env: { ...process.env, ...env },
      execArgv: ['--expose-gc'],
    })
    this.#process.on('message', ({ id, value }: { id: number; value: unknown }) => {
      this.#waiting.get(id)?.resolve(value)
      this.#waiting.delete(id)
    })
    this.#process.on('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`service ended with ${code}`))
    })
  }

  ask<T>(verb: string, argument?: unknown): Promise<T> {
    const id = ++this.#last
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: resolve as (value: unknown) => void, reject })
      this.#process.send({ id, verb, argument })
    })
  }

  stop(): void {
    this.#process.kill('SIGKILL')
  }
}
