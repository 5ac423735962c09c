import { readFile } from 'node:fs/promises'
import type { Command } from 'commander'
import { formatProblem } from '../../src/errors.ts'
import { adminTokenPath } from '../api/auth.ts'
import type { ProblemDetails } from '../api/problem.ts'
import { defaultDataDir } from '../options.ts'
import { Failure } from './failure.ts'

export interface ConnectionFlags {
  readonly adminUrl: string
  readonly dataDir: string
}

/** Adds the options by which commands find the control plane. */
export function withConnection(command: Command): Command {
  return command
    .option(
      '--admin-url <url>',
      'admin API (INMESH_ADMIN_URL)',
      process.env.INMESH_ADMIN_URL ?? 'http://127.0.0.1:15014',
    )
    .option('--data-dir <dir>', 'where its token is, unless INMESH_ADMIN_TOKEN says it', defaultDataDir())
}

/** The control plane refused. */
export class Refused extends Failure {
  readonly problem: ProblemDetails
  constructor(problem: ProblemDetails) {
    super([...(problem.errors ?? []).map(formatProblem), problem.detail].join('\n'))
    this.problem = problem
  }
}

/** Talks to the admin API. */
export class AdminClient {
  readonly #flags: ConnectionFlags

  constructor(flags: ConnectionFlags) {
    this.#flags = flags
  }

  async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    return (await (await this.request(path, init)).json()) as T
  }

  /** Throws Refused for what is not 2xx, Failure when nobody answers. */
  async request(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = new Headers(init.headers)
    headers.set('authorization', `Bearer ${await this.#token()}`)
    const response = await this.fetch(path, { ...init, headers })
    if (response.ok) return response
    const body = await response.text()
    throw new Refused(asProblem(response.status, body))
  }

  /** Without a token. */
  async fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const { adminUrl } = this.#flags
    let url: URL
    try {
      url = new URL(path, adminUrl)
    } catch {
      throw new Failure(`INMESH_ADMIN_URL is "${adminUrl}": expected a URL like http://127.0.0.1:15014`)
    }
    try {
      return await fetch(url, { signal: AbortSignal.timeout(30_000), ...init })
    } catch (cause) {
      const reason = ((cause as Error).cause as Error | undefined)?.message ?? (cause as Error).message
      throw new Failure(
        `no control plane answers at ${adminUrl} (${reason}): start one with "inmesh control-plane", or set INMESH_ADMIN_URL`,
      )
    }
  }

  async #token(): Promise<string> {
    const given = process.env.INMESH_ADMIN_TOKEN
    if (given !== undefined && given !== '') return given
    const path = adminTokenPath(this.#flags.dataDir)
    try {
      return (await readFile(path, 'utf8')).trim()
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`
      throw new Failure(`INMESH_ADMIN_TOKEN is not set and ${path} ${why}`)
    }
  }
}

function asProblem(status: number, body: string): ProblemDetails {
  try {
    const value = JSON.parse(body) as ProblemDetails
    if (typeof value.detail === 'string') return value
  } catch {
    // Not ours: what answers there is something else.
  }
  return {
    title: 'Unexpected answer',
    status,
    detail: `the admin API answered ${status}; is it an inmesh control plane?`,
  }
}
