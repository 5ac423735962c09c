import { setTimeout as sleep } from 'node:timers/promises'
import { InmeshError } from '../errors.ts'
import type { Random } from '../model/clock.ts'
import type { Logger } from '../model/logger.ts'
import { readIdentityFile, type StoredIdentity, writeIdentityFile } from './identity-file.ts'
import type { IdentityState } from './identity-state.ts'
import { type JoinToken, sha256Hex } from './join-token.ts'
import { RefusedError } from './refused-error.ts'
import { RenewalSchedule } from './renewal-schedule.ts'
import type { CertificateSource } from './sources/source.ts'
import type { SpiffeId } from './spiffe-id.ts'

export interface RotationOptions {
  readonly state: IdentityState
  readonly source: CertificateSource
  /** Where the identity outlives the process (see identityFilePath); null = nowhere. */
  readonly file: string | null
  readonly spiffeId: SpiffeId
  /** When given, a stored identity of a mesh with another root is not used. */
  readonly token: JoinToken | null
  readonly logger: Logger
  readonly random: Random
  /** Wall clock ms; default Date.now. */
  readonly now?: () => number
}

/** Longest sleep of the timer, ms: a suspended machine notices within this time that a renewal is overdue. */
const LONGEST_SLEEP = 60_000
/** A refused token may have been used by a sibling that shares the state directory: how often to look for its file. */
const SIBLING_LOOKS = 5

/**
 * Keeps a process's certificate fresh. Starts with the file of an earlier run (or of a sibling process) if that is still
 * valid, else asks the source; then renews at half of the lifetime, for ever. The previous certificate stays in use while
 * renewals fail, until it expires.
 */
export class CertificateRotation {
  private readonly options: RotationOptions
  private readonly schedule: RenewalSchedule
  private readonly now: () => number
  private readonly stop = new AbortController()
  private failure: Error | undefined
  /** True once there was a certificate: the loop runs and does not keep the process alive. */
  private started = false
  private loop: Promise<void> | undefined

  constructor(options: RotationOptions) {
    this.options = options
    this.schedule = new RenewalSchedule(options.random)
    this.now = options.now ?? Date.now
  }

  /** Why the last attempt failed; undefined after one that did not. */
  get lastFailure(): Error | undefined {
    return this.failure
  }

  /**
   * Resolves when the process has a valid certificate. Goes on trying while the control plane is away.
   *
   * @throws RefusedError when the authority refuses; InmeshError ERR_INMESH_CLOSED when closed before there was one
   */
  async start(): Promise<void> {
    const stored = await this.readFile()
    if (stored !== undefined) this.take(stored, 'file')
    while (this.schedule.urgency(this.now()) === 'none') {
      if (this.stop.signal.aborted) throw new InmeshError('ERR_INMESH_CLOSED', 'closed before there was a certificate')
      try {
        await this.renew()
      } catch (error) {
        if (!(await this.attemptFailed(error as Error))) throw error
        if (this.schedule.urgency(this.now()) === 'none') await this.sleepUntil(this.schedule.due)
      }
    }
    this.started = true
    this.loop = this.run()
  }

  /** Stops renewing; the present certificate stays in the state. */
  async close(): Promise<void> {
    this.stop.abort()
    await this.loop
  }

  private async run(): Promise<void> {
    while (!this.stop.signal.aborted) {
      if (this.now() < this.schedule.due) {
        await this.sleepUntil(this.schedule.due)
        continue
      }
      try {
        await this.renew()
      } catch (error) {
        await this.attemptFailed(error as Error)
      }
    }
  }

  private async renew(): Promise<void> {
    const sibling = await this.readFile()
    if (sibling !== undefined && this.isFresher(sibling)) {
      this.take(sibling, 'file')
      if (this.now() < this.schedule.due) return
    }
    const issued = await this.options.source.obtain()
    if (this.stop.signal.aborted) return
    this.take(issued, 'source')
    this.options.logger.info('certificate obtained', {
      spiffeId: issued.identity.spiffeId.text,
      serial: issued.identity.serialNumber,
      notAfter: new Date(issued.identity.notAfter).toISOString(),
    })
    await this.writeFile(issued)
  }

  private take({ identity, bundles }: StoredIdentity, from: 'source' | 'file'): void {
    const { state } = this.options
    // Bundles of a file are as old as the file: they count only until better ones are known.
    if (from === 'source' || !state.bundles.has(state.trustDomain)) state.updateBundles(bundles)
    state.update(identity)
    this.schedule.obtained(identity)
    this.failure = undefined
  }

  /** False: to go on is of no use, because there is no certificate and the authority refuses to give one. */
  private async attemptFailed(error: Error): Promise<boolean> {
    this.failure = error
    const urgency = this.schedule.failed(this.now())
    const { logger } = this.options
    const fields = { error: error.message, failures: this.schedule.failures }
    if (urgency === 'calm') logger.info('certificate was not renewed; will try again', fields)
    else if (urgency === 'ends soon') logger.warn('certificate was not renewed and ends soon', fields)
    else logger.warn('no certificate could be obtained', fields)
    if (urgency !== 'none' || !(error instanceof RefusedError)) return true
    return this.started || (await this.awaitSibling())
  }

  private async awaitSibling(): Promise<boolean> {
    for (let look = 0; look < SIBLING_LOOKS && this.options.file !== null; look++) {
      const stored = await this.readFile()
      if (stored !== undefined) {
        this.take(stored, 'file')
        return true
      }
      await this.sleepUntil(this.now() + 100 * 2 ** look)
    }
    return false
  }

  /** The stored identity, if this process may use it now. */
  private async readFile(): Promise<StoredIdentity | undefined> {
    const { file, logger, spiffeId, token } = this.options
    if (file === null) return undefined
    const stored = await readIdentityFile(file, logger)
    if (stored === undefined) return undefined
    if ('failure' in stored) {
      logger.warn('stored identity is not used', { reason: stored.message })
      return undefined
    }
    const { identity, bundles } = stored
    const anchors = bundles.get(spiffeId.trustDomain) ?? []
    const unusable =
      identity.spiffeId.text !== spiffeId.text
        ? `it is of ${identity.spiffeId.text}`
        : this.now() >= identity.notAfter
          ? 'it has expired'
          : token !== null && !anchors.some((der) => sha256Hex(der) === token.rootSha256)
            ? 'it is of a mesh with another root than the join token names'
            : undefined
    if (unusable === undefined) return stored
    logger.info('stored identity is not used', { reason: unusable })
    return undefined
  }

  private async writeFile(stored: StoredIdentity): Promise<void> {
    const { file, logger } = this.options
    if (file === null) return
    try {
      await writeIdentityFile(file, stored)
    } catch (error) {
      logger.warn('identity could not be saved; a restart will need the control plane and a new token', {
        error: (error as Error).message,
      })
    }
  }

  private isFresher({ identity }: StoredIdentity): boolean {
    const current = this.options.state.current
    return current === undefined || identity.notAfter > current.notAfter
  }

  private async sleepUntil(time: number): Promise<void> {
    const wait = Math.max(0, Math.min(time - this.now(), LONGEST_SLEEP))
    try {
      await sleep(wait, undefined, { signal: this.stop.signal, ref: !this.started })
    } catch {
      // Closed: the caller looks at the signal.
    }
  }
}
