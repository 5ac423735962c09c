import { randomBytes } from 'node:crypto'
import { link, open, unlink } from 'node:fs/promises'
import { InmeshError } from '../../src/errors.ts'

/**
 * Reads a file of secrets, or creates it (0600) with what `make` returns. Two processes that start at once end up with one
 * content.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY when others may read it, or it belongs to somebody else
 */
export async function loadOrCreateSecret(path: string, make: () => string): Promise<string> {
  const existing = await readSecret(path)
  if (existing !== undefined) return existing
  await createWhole(path, make(), 0o600)
  const created = await readSecret(path)
  if (created === undefined) throw new InmeshError('ERR_INMESH_IDENTITY', `${path} vanished while it was created`)
  return created
}

async function readSecret(path: string): Promise<string | undefined> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    const stat = await file.stat()
    const uid = process.getuid?.()
    if (uid !== undefined && stat.uid !== uid) {
      throw new InmeshError(
        'ERR_INMESH_IDENTITY',
        `${path} belongs to uid ${stat.uid} and not to this process (uid ${uid})`,
      )
    }
    if (uid !== undefined && (stat.mode & 0o077) !== 0) {
      const mode = (stat.mode & 0o777).toString(8)
      throw new InmeshError('ERR_INMESH_IDENTITY', `${path} has mode ${mode}, so others may read it: expected 600`)
    }
    return await file.readFile('utf8')
  } finally {
    await file.close()
  }
}

/** Creates a file with all of its content, or leaves the one that is there: no reader ever sees half of it. */
export async function createWhole(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', mode)
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
  try {
    await link(temporary, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await unlink(temporary)
  }
}
