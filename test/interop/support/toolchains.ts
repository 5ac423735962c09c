import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Peer } from './foreign-client.ts'

/**
 * Foreign clients are built once and kept outside of the repository. What a machine lacks (a toolchain, a way to its
 * package registry) is named and is no failure; a build that fails where both are there is one.
 */
const cache = process.env.INMESH_INTEROP_CACHE ?? join(homedir(), '.cache/inmesh-interop')
const sources = join(import.meta.dirname, '..')

/** Failures to reach a registry, in the words of pip, go and the resolver below them. */
const unreachable =
  /no such host|connection refused|network is unreachable|name resolution|getaddrinfo|i\/o timeout|NewConnectionError|ConnectTimeout|ProxyError|GOPROXY=off|certificate signed by unknown authority/i

/** gRPC's C-core, by its Python wheel. */
export async function grpcCore(): Promise<Peer> {
  const name = 'grpc C-core (Python)'
  const wheel = 'grpcio==1.85.1'
  if (!(await inPath('python3'))) return { name, start: { missing: 'no python3 in PATH' } }
  if ((await run('python3', ['-c', 'import venv, ensurepip'])).code !== 0)
    return { name, start: { missing: 'python3 has no venv and ensurepip' } }
  const folder = join(cache, `python-${hashOf([wheel])}`)
  const python = join(folder, 'bin/python')
  // A virtual environment cannot be moved, so its completeness is a file of its own.
  const complete = join(folder, 'complete')
  if (!existsSync(complete)) {
    await rm(folder, { recursive: true, force: true })
    await mkdir(cache, { recursive: true })
    await must('python3', ['-m', 'venv', folder])
    const installed = await run(python, ['-m', 'pip', 'install', '--disable-pip-version-check', wheel])
    if (installed.code !== 0) return { name, start: missingOrThrow('PyPI', installed.output) }
    await mkdir(complete)
  }
  return { name, start: { command: python, args: [join(sources, 'peers/grpc_core.py')] } }
}

export function grpcGo(): Promise<Peer> {
  return goModule('grpc-go', 'go', ['go.mod', 'go.sum', 'main.go', 'server.go'])
}

/** A control plane made with go-control-plane; what it is told and tells stands in its main.go. */
export function goControlPlane(): Promise<Peer> {
  return goModule('go-control-plane', 'go-control-plane', ['go.mod', 'go.sum', 'main.go'])
}

async function goModule(name: string, folderName: string, fileNames: readonly string[]): Promise<Peer> {
  if (!(await inPath('go'))) return { name, start: { missing: 'no go in PATH' } }
  const module = join(sources, folderName)
  const files = await Promise.all(fileNames.map((file) => readFile(join(module, file), 'utf8')))
  const binary = join(cache, `${name}-${hashOf(files)}`)
  if (!existsSync(binary)) {
    await mkdir(cache, { recursive: true })
    const downloaded = await run('go', ['mod', 'download'], module)
    if (downloaded.code !== 0) return { name, start: missingOrThrow('the Go module proxy', downloaded.output) }
    const folder = await mkdtemp(join(cache, 'building-'))
    await must('go', ['build', '-trimpath', '-ldflags', '-s -w', '-o', join(folder, 'client'), '.'], module)
    await rename(join(folder, 'client'), binary)
    await rm(folder, { recursive: true })
  }
  return { name, start: { command: binary, args: [] } }
}

/** The same libraries as xDS servers: what starts one, with the port as its last argument. */
export function asServer(peer: Peer): Peer {
  if ('missing' in peer.start) return peer
  const { command, args } = peer.start
  return { name: `${peer.name} as a server`, start: { command, args: args.map(serverFile) } }
}

function serverFile(file: string): string {
  return file.replace('grpc_core.py', 'grpc_core_server.py').replace('grpc-js-xds.mjs', 'grpc-js-xds-server.mjs')
}

/** This library. */
export function inmesh(): Peer {
  return { name: 'inmesh', start: { command: process.execPath, args: [join(sources, 'peers/inmesh.ts')] } }
}

/** Comes with `npm ci`. */
export function grpcJsXds(): Peer {
  return {
    name: 'grpc-js-xds',
    start: { command: process.execPath, args: [join(sources, 'peers/grpc-js-xds.mjs')] },
  }
}

function missingOrThrow(registry: string, output: string): { missing: string } {
  if (unreachable.test(output)) return { missing: `${registry} cannot be reached` }
  throw new Error(`installing from ${registry} failed:\n${output}`)
}

function hashOf(texts: readonly string[]): string {
  return createHash('sha256').update(texts.join('\0')).digest('hex').slice(0, 12)
}

async function inPath(command: string): Promise<boolean> {
  return (await run('sh', ['-c', `command -v ${command}`])).code === 0
}

async function must(command: string, args: readonly string[], cwd?: string): Promise<void> {
  const { code, output } = await run(command, args, cwd)
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} failed:\n${output}`)
}

/** Runs to the end; all that it wrote. */
function run(command: string, args: readonly string[], cwd?: string): Promise<{ code: number; output: string }> {
  return new Promise((resolve, reject) => {
    // What is set for this process's Node must not reach other builds' choice of platform or flags.
    const child = spawn(command, args, { cwd, env: { ...process.env, CGO_ENABLED: '0' }, stdio: 'pipe' })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? -1, output }))
  })
}
