/** Runs the example by itself: a control plane, two versions of the server, the policies, then the client; a few seconds. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const here = import.meta.dirname
const cli = join(here, '../../dist/cli.js')
const home = mkdtempSync(join(tmpdir(), 'inmesh-grpc-'))
const [port, adminPort] = [await freePort(), await freePort()]
const env: NodeJS.ProcessEnv = {
  ...process.env,
  HOME: home,
  INMESH_CONTROL_PLANE: `127.0.0.1:${port}`,
  INMESH_ADMIN_URL: `http://127.0.0.1:${adminPort}`,
}
const children: ChildProcess[] = []

try {
  start(cli, ['control-plane', '--listen', `127.0.0.1:${port}`, '--admin', `127.0.0.1:${adminPort}`], env)
  await inmesh('status', '--wait')
  await inmesh('apply', '-f', join(here, 'policies.yaml'))
  for (const version of ['v1', 'v2'])
    start(join(here, 'server.ts'), [], { ...(await workload('payments')), INMESH_LABELS: `version=${version}` })
  await inmesh('status', '--wait', '2')
  const client = start(join(here, 'client.ts'), [], await workload('orders'), 'inherit')
  process.exitCode = await ended(client)
} finally {
  // Those first that need the others.
  for (const child of children.reverse()) {
    child.kill()
    await ended(child)
  }
  rmSync(home, { recursive: true, force: true })
}

function start(file: string, args: string[], childEnv: NodeJS.ProcessEnv, stdout: 'ignore' | 'inherit' = 'ignore') {
  const child = spawn(process.execPath, [file, ...args], { env: childEnv, stdio: ['ignore', stdout, 'inherit'] })
  children.push(child)
  return child
}

function ended(child: ChildProcess): Promise<number> {
  const { exitCode, signalCode } = child
  if (exitCode !== null || signalCode !== null) return Promise.resolve(exitCode ?? 1)
  return new Promise((resolve) => child.once('exit', (code) => resolve(code ?? 1)))
}

async function inmesh(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [cli, ...args], { env })
  return stdout.trim()
}

/** A service proves who it is with a token, once; its state is its own. */
async function workload(service: string): Promise<NodeJS.ProcessEnv> {
  return { ...env, INMESH_SERVICE: service, INMESH_TOKEN: await inmesh('token', 'create', '--service', service) }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port: free } = server.address() as { port: number }
      server.close(() => resolve(free))
    })
  })
}
