import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { InmeshError } from '../../errors.ts'
import type { CertificateFiles } from '../../model/certificate-files.ts'
import type { Logger } from '../../model/logger.ts'
import type { TrustBundles } from '../../model/snapshot.ts'
import { readCertificateProfile } from '../certificate-profile.ts'
import type { IdentityState } from '../identity-state.ts'
import { checkLeaf } from '../leaf-profile.ts'
import { readSpiffeBundleMap } from '../spiffe-bundle-map.ts'
import { certificatesFromPem, trustAnchorsFromPem } from '../trust-bundle.ts'
import { ANY_TRUST_DOMAIN } from '../verify.ts'
import { type WorkloadIdentity, workloadIdentity } from '../workload-identity.ts'

export interface FileIdentityOptions {
  readonly state: IdentityState
  readonly files: CertificateFiles
  readonly logger: Logger
  /** Reads a file; the file system's by default. */
  readonly read?: (path: string) => string
}

/** While there is nothing usable, or files are half replaced, they are looked at this often, ms. */
const IMPATIENT_MS = 1_000

/**
 * Keeps an identity in step with files that somebody else renews (gRFC A29's `file_watcher`): read at start and then at every
 * `refreshMs`. What cannot be used leaves the last good identity in force. Roots without a trust domain of their own are good
 * for whoever they signed.
 */
export class FileIdentity {
  readonly #options: FileIdentityOptions
  readonly #read: (path: string) => string
  #content = ''
  #failure: Error | undefined
  #namesNobody: string | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: FileIdentityOptions) {
    this.#options = options
    this.#read = options.read ?? ((path) => readFileSync(path, 'utf8'))
  }

  /** Why the files could not be used the last time; undefined when they could. */
  get lastFailure(): Error | undefined {
    return this.#failure
  }

  /**
   * Why the certificate stands for no workload: it has no SPIFFE id, say, or is for clients only. It can be shown to services outside of
   * the mesh, but servers of this process cannot use it. undefined when it can.
   */
  get namesNobody(): string | undefined {
    return this.#namesNobody
  }

  /** Reads the files for the first time and goes on doing so. */
  start(): void {
    this.refresh()
    this.#schedule()
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  /** Reads the files now. */
  refresh(): void {
    const { state, files, logger } = this.#options
    try {
      const paths = [files.certificate?.chain, files.certificate?.key, files.roots?.path]
      const [chain, key, roots] = paths.map((path) => (path === undefined ? '' : this.#read(path)))
      const content = [chain, key, roots].join('\0')
      if (content !== this.#content) {
        // Both are made before either is used: one without the other could be of two times.
        const bundles = files.roots === null ? undefined : bundlesOf(files.roots.kind, roots!, files.roots.path)
        const identity =
          files.certificate === null ? undefined : this.#identityOf(chain!, key!, files.certificate.chain)
        if (bundles !== undefined) state.updateBundles(bundles)
        if (identity !== undefined) state.update(identity)
        this.#content = content
        if (identity !== undefined)
          logger.info('certificate read', {
            spiffeId: identity.spiffeId.text,
            serial: identity.serialNumber,
            notAfter: new Date(identity.notAfter).toISOString(),
          })
      }
      this.#failure = undefined
    } catch (error) {
      const failure = error as Error
      if (failure.message !== this.#failure?.message)
        logger.warn('files of certificates cannot be used; the last good ones stay', { error: failure.message })
      this.#failure = failure
    }
  }

  #identityOf(chain: string, key: string, path: string): WorkloadIdentity | undefined {
    const before = this.#namesNobody
    this.#namesNobody = whyNobody(chain)
    if (this.#namesNobody === undefined) return identityOf(chain, key, path)
    if (this.#namesNobody !== before)
      this.#options.logger.warn('a certificate stands for no workload: servers of this process cannot use it', {
        path,
        reason: this.#namesNobody,
      })
    return undefined
  }

  #schedule(): void {
    const { refreshMs } = this.#options.files
    const wait = this.#failure === undefined ? refreshMs : Math.min(refreshMs, IMPATIENT_MS)
    this.#timer = setTimeout(() => {
      this.refresh()
      this.#schedule()
    }, wait).unref()
  }
}

function bundlesOf(kind: 'ca' | 'spiffe', text: string, path: string): TrustBundles {
  return kind === 'spiffe'
    ? readSpiffeBundleMap(text, path)
    : new Map([[ANY_TRUST_DOMAIN, trustAnchorsFromPem(text, path)]])
}

/** Of a certificate that can be read at all. */
function whyNobody(chain: string): string | undefined {
  const [leaf] = certificatesFromPem(chain)
  const profile = leaf === undefined ? undefined : readCertificateProfile(leaf)
  if (profile === undefined || 'failure' in profile) return undefined
  for (const role of ['server', 'client'] as const) {
    const id = checkLeaf(profile, role)
    if ('failure' in id) return id.message
  }
  return undefined
}

function identityOf(chain: string, key: string, path: string): WorkloadIdentity {
  try {
    return workloadIdentity(certificatesFromPem(chain), createPrivateKey(key))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InmeshError('ERR_INMESH_IDENTITY', `${path}: ${reason}`, { cause })
  }
}
