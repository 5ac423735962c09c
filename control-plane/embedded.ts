import { watch } from 'node:fs'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { ConfigError, InmeshError, type Problem } from '../src/errors.ts'
import type { Logger } from '../src/model/logger.ts'
import type { WorkloadInfo } from '../src/model/workload.ts'
import type { MeshDefinition } from './definition.ts'
import { definitionText, readSources, type Sources } from './source-files.ts'
import { type ControlPlane, startControlPlane } from './start.ts'

/** A folder of YAML, a file (YAML, JSON or a module), or a definition in code. */
export type EmbeddedSource = string | MeshDefinition

/** What one mesh of this process has of a control plane in this process. */
export interface EmbeddedMember {
  readonly address: string
  /** One-time, for this workload. */
  readonly token: string
  /** Gone with the control plane: what it certified is worth nothing afterwards. */
  readonly stateDir: string
  /** Hears of what is wrong with a changed folder. */
  onProblem(listener: (problem: Problem) => void): void
  /** The last one to leave ends the control plane. Idempotent. */
  leave(): Promise<void>
}

/** ms without a change before a changed folder is read: editors write in several steps. */
const QUIET = 50

const running = new Map<unknown, Promise<Embedded>>()

/**
 * Joins the control plane of this process for a source, and starts it when this is the first: meshes with the same folder
 * or the same definition are one mesh. It is the real one, on loopback ports, with a store that lives as long as it does.
 * @throws ConfigError when what the source says is refused
 */
export async function joinEmbedded(
  source: EmbeddedSource,
  workload: WorkloadInfo,
  logger: Logger,
): Promise<EmbeddedMember> {
  const key = typeof source === 'string' ? resolve(source) : source
  let embedded = running.get(key)
  if (embedded === undefined) {
    embedded = Embedded.start(source, workload.trustDomain, logger)
    running.set(key, embedded)
    embedded.catch(() => running.delete(key))
  }
  return (await embedded).join(workload, () => running.delete(key))
}

class Embedded {
  readonly #plane: ControlPlane
  readonly #folder: string
  readonly #source: EmbeddedSource
  readonly #trustDomain: string
  readonly #logger: Logger
  readonly #listeners = new Set<(problem: Problem) => void>()
  readonly #stop = new AbortController()
  #members = 0
  #timer: NodeJS.Timeout | undefined
  #reading: Promise<void> = Promise.resolve()

  private constructor(
    plane: ControlPlane,
    folder: string,
    source: EmbeddedSource,
    trustDomain: string,
    logger: Logger,
  ) {
    this.#plane = plane
    this.#folder = folder
    this.#source = source
    this.#trustDomain = trustDomain
    this.#logger = logger
  }

  static async start(source: EmbeddedSource, trustDomain: string, logger: Logger): Promise<Embedded> {
    const folder = await mkdtemp(join(tmpdir(), 'inmesh-embedded-'))
    const local = { listen: '127.0.0.1:0', admin: '127.0.0.1:0' }
    let plane: ControlPlane | undefined
    try {
      plane = await startControlPlane({ ...local, dataDir: join(folder, 'control-plane'), trustDomain, logger })
      const embedded = new Embedded(plane, folder, source, trustDomain, logger)
      for (const problem of await embedded.#read()) embedded.#report(problem)
      if (typeof source === 'string') await embedded.#watch(source)
      return embedded
    } catch (error) {
      await plane?.close(0)
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  async join(workload: WorkloadInfo, ended: () => void): Promise<EmbeddedMember> {
    const { service, namespace, serviceAccount, trustDomain, instanceId } = workload
    if (trustDomain !== this.#trustDomain) {
      const message = `trustDomain is "${trustDomain}": the embedded control plane of this process has "${this.#trustDomain}"`
      throw new InmeshError('ERR_INMESH_INVALID_OPTION', message)
    }
    this.#members++
    const listeners = new Set<(problem: Problem) => void>()
    let left: Promise<void> | undefined
    const leave = async () => {
      for (const listener of listeners) this.#listeners.delete(listener)
      this.#members--
      if (this.#members > 0) return
      ended()
      await this.#close()
    }
    try {
      const { token } = await this.#plane.createToken({ service, namespace, serviceAccount })
      return {
        address: this.#plane.address,
        token,
        stateDir: join(this.#folder, instanceId),
        onProblem: (listener) => {
          listeners.add(listener)
          this.#listeners.add(listener)
        },
        leave: () => {
          left ??= leave()
          return left
        },
      }
    } catch (error) {
      await leave()
      throw error
    }
  }

  /** Makes the store say what the source says; answers with warnings. */
  async #read(): Promise<readonly Problem[]> {
    const sources = await sourcesOf(this.#source)
    const place = (problems: readonly Problem[]) => problems.map((problem) => sources.place(problem))
    try {
      return place((await this.#plane.apply(sources.text, { actor: 'embedded', replace: true })).warnings)
    } catch (error) {
      throw error instanceof ConfigError ? new ConfigError(place(error.problems)) : error
    }
  }

  async #watch(path: string): Promise<void> {
    const isFolder = (await stat(path)).isDirectory()
    const watcher = watch(isFolder ? path : dirname(path), { recursive: isFolder, signal: this.#stop.signal })
    watcher.on('change', (_, name) => {
      if (isFolder || name === basename(path)) this.#changed()
    })
    watcher.on('error', (error) => this.#report({ severity: 'error', message: `${path} cannot be watched: ${error}` }))
  }

  #changed(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#reading = this.#reading.then(() => this.#reload())
    }, QUIET)
  }

  /** The last good configuration stays in force while the new one is refused. */
  async #reload(): Promise<void> {
    if (this.#stop.signal.aborted) return
    try {
      for (const problem of await this.#read()) this.#report(problem)
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [asProblem(error)]
      for (const problem of problems) this.#report(problem)
    }
  }

  #report(problem: Problem): void {
    const { severity, message, ...where } = problem
    if (severity === 'error') this.#logger.error(`configuration refused: ${message}`, where)
    else this.#logger.warn(message, where)
    for (const listener of this.#listeners) listener(problem)
  }

  async #close(): Promise<void> {
    this.#stop.abort()
    clearTimeout(this.#timer)
    await this.#reading
    await this.#plane.close(0)
    await rm(this.#folder, { recursive: true, force: true })
  }
}

function sourcesOf(source: EmbeddedSource): Promise<Sources> {
  return typeof source === 'string' ? readSources([source], true) : Promise.resolve(definitionText(source))
}

function asProblem(error: unknown): Problem {
  return { severity: 'error', message: error instanceof Error ? error.message : String(error) }
}
