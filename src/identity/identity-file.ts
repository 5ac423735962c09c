import { createPrivateKey, randomBytes } from 'node:crypto'
import { type FileHandle, mkdir, open, rename, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Logger } from '../model/logger.ts'
import type { TrustBundles } from '../model/snapshot.ts'
import { type IdentityFailure, identityFailure } from './identity-failure.ts'
import { sha256Hex } from './join-token.ts'
import { trustBundles } from './trust-bundle.ts'
import { type WorkloadIdentity, workloadIdentity } from './workload-identity.ts'

/** What a process needs to come up while the control plane is away. */
export interface StoredIdentity {
  readonly identity: WorkloadIdentity
  readonly bundles: TrustBundles
}

/** Content of the file; every binary value is base64 of DER. */
interface Body {
  issuedAt: number
  chain: string[]
  key: string
  bundles: [trustDomain: string, anchors: string[]][]
}

/** First line: format, version and the SHA-256 of all that follows. */
const HEADER = 'inmesh-identity 1'
const MAX_SIZE = 1024 * 1024

export function identityFilePath(stateDir: string): string {
  return join(stateDir, 'identity')
}

/**
 * Reads the identity of an earlier run. undefined when there is none; a failure when it cannot be used: cut, changed, of
 * another user, or key and certificate do not belong together. Rights that let others read are taken away with a warning.
 * Says nothing about expiry.
 */
export async function readIdentityFile(
  path: string,
  logger: Logger,
): Promise<StoredIdentity | IdentityFailure | undefined> {
  let text: string | IdentityFailure
  try {
    const file = await open(path, 'r')
    try {
      text = await readOwnFile(file, path, logger)
    } finally {
      await file.close()
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    return identityFailure('FILE', `identity file ${path}: ${(error as Error).message}`)
  }
  if (typeof text !== 'string') return text
  const newline = text.indexOf('\n')
  const body = text.slice(newline + 1)
  if (newline < 0 || text.slice(0, newline) !== `${HEADER} ${sha256Hex(Buffer.from(body))}`) {
    return identityFailure('FILE', `identity file ${path} is damaged or of another version: checksum does not fit`)
  }
  try {
    const { issuedAt, chain, key, bundles } = JSON.parse(body) as Body
    const fromBase64 = (texts: string[]) => texts.map((t) => Buffer.from(t, 'base64'))
    const privateKey = createPrivateKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'pkcs8' })
    return {
      identity: workloadIdentity(fromBase64(chain), privateKey, issuedAt),
      bundles: trustBundles(
        bundles.map(([domain, anchors]) => [domain, fromBase64(anchors)] as const),
        path,
      ),
    }
  } catch (error) {
    return identityFailure('FILE', `identity file ${path} cannot be used: ${(error as Error).message}`)
  }
}

/**
 * Writes key, chain and bundles into one file, mode 0600, whole or not at all: readers and writers of other processes see
 * the old or the new file, after a power cut as well. Creates the directory (0700).
 */
export async function writeIdentityFile(path: string, stored: StoredIdentity): Promise<void> {
  const { identity, bundles } = stored
  const base64 = (ders: readonly Uint8Array[]) => ders.map((der) => Buffer.from(der).toString('base64'))
  const body = JSON.stringify({
    issuedAt: identity.issuedAt,
    chain: base64(identity.chain),
    key: identity.privateKey.export({ type: 'pkcs8', format: 'der' }).toString('base64'),
    bundles: [...bundles].map(([domain, anchors]) => [domain, base64(anchors)]),
  } satisfies Body)
  const text = `${HEADER} ${sha256Hex(Buffer.from(body))}\n${body}`
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  const temporary = `${path}.${process.pid}.${randomBytes(6).toString('hex')}.tmp`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await unlink(temporary).catch(() => undefined) // may not be there; the first error is the one that counts
    throw error
  }
  await syncDirectory(dirname(path))
}

async function readOwnFile(file: FileHandle, path: string, logger: Logger): Promise<string | IdentityFailure> {
  const stat = await file.stat()
  if (!stat.isFile()) return identityFailure('FILE', `identity file ${path} is not a regular file`)
  if (stat.size > MAX_SIZE) return identityFailure('FILE', `identity file ${path} is larger than ${MAX_SIZE} bytes`)
  const uid = process.getuid?.()
  if (uid !== undefined && stat.uid !== uid) {
    return identityFailure(
      'FILE',
      `identity file ${path} belongs to uid ${stat.uid} and not to this process (uid ${uid})`,
    )
  }
  if (uid !== undefined && (stat.mode & 0o077) !== 0) {
    await file.chmod(0o600)
    logger.warn('identity file was open to other users; its rights are now 0600', {
      path,
      mode: (stat.mode & 0o777).toString(8),
    })
  }
  return file.readFile('utf8')
}

/** Makes the rename itself durable; not every platform lets a directory be opened. */
async function syncDirectory(path: string): Promise<void> {
  if (process.platform === 'win32') return
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
