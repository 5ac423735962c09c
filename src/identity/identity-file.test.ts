import { createPrivateKey } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { createTestCa } from '../../test/support/test-ca.ts'
import { type Logger, silentLogger } from '../model/logger.ts'
import { isFailure } from './identity-failure.ts'
import { identityFilePath, readIdentityFile, writeIdentityFile } from './identity-file.ts'
import { workloadIdentity } from './workload-identity.ts'

const ca = createTestCa('cluster.local')
const leaf = ca.issue('spiffe://cluster.local/ns/shop/sa/orders')
const stored = {
  identity: workloadIdentity([leaf.certDer], createPrivateKey(leaf.keyPem), Date.now()),
  bundles: ca.bundles,
}
const base = await mkdtemp(join(tmpdir(), 'inmesh-identity-'))
afterAll(() => rm(base, { recursive: true }))

let path = ''
let count = 0
beforeEach(() => {
  path = identityFilePath(join(base, `state-${count++}`, 'deep'))
})

describe('identity file', () => {
  it('gives back what was written: chain, key, time of issue, bundles', async () => {
    await writeIdentityFile(path, stored)
    const read = await readIdentityFile(path, silentLogger)
    if (read === undefined || isFailure(read)) throw new Error(JSON.stringify(read))
    const { privateKey, ...facts } = read.identity
    const { privateKey: written, ...expected } = stored.identity
    expect(JSON.stringify(facts)).toBe(JSON.stringify(expected))
    expect(privateKey.equals(written)).toBe(true)
    expect([...read.bundles]).toEqual([...stored.bundles])
  })

  it('is readable by its owner only, in a directory of its owner, and leaves no other file', async () => {
    await writeIdentityFile(path, stored)
    await writeIdentityFile(path, stored)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect((await stat(join(path, '..'))).mode & 0o777).toBe(0o700)
    expect(await readdir(join(path, '..'))).toEqual(['identity'])
  })

  it('that is not there is no error', async () => {
    expect(await readIdentityFile(path, silentLogger)).toBeUndefined()
  })

  it('cut in half, changed by a bit, empty or of another format is a clear failure', async () => {
    await writeIdentityFile(path, stored)
    const good = await readFile(path)
    const flipped = Buffer.from(good)
    flipped[good.length - 40]! ^= 1
    for (const bad of [
      good.subarray(0, good.length / 2),
      flipped,
      Buffer.alloc(0),
      Buffer.from('{}'),
      Buffer.alloc(99),
    ]) {
      await writeFile(path, bad)
      const read = await readIdentityFile(path, silentLogger)
      expect(read).toMatchObject({ failure: 'FILE', message: expect.stringContaining(path) })
      expect(JSON.stringify(read)).not.toContain('PRIVATE')
    }
  })

  it('with the key of another certificate is a failure', async () => {
    const other = ca.issue('spiffe://cluster.local/ns/shop/sa/orders')
    await writeIdentityFile(path, { ...stored, identity: { ...stored.identity, privateKey: other.key } })
    expect(await readIdentityFile(path, silentLogger)).toMatchObject({ failure: 'FILE' })
  })

  it('open to others is closed, with a warning', async () => {
    await writeIdentityFile(path, stored)
    await chmod(path, 0o644)
    const warnings: string[] = []
    const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) }
    expect(isFailure(await readIdentityFile(path, logger))).toBe(false)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
    expect(warnings).toHaveLength(1)
  })

  it('that is a directory or larger than any identity is a failure', async () => {
    await mkdir(path, { recursive: true })
    expect(await readIdentityFile(path, silentLogger)).toMatchObject({ failure: 'FILE' })
    const large = `${path}-large`
    await writeFile(large, Buffer.alloc(2 * 1024 * 1024), { mode: 0o600 })
    expect(await readIdentityFile(large, silentLogger)).toMatchObject({ failure: 'FILE' })
    const loop = `${path}-loop`
    await symlink(loop, loop)
    expect(await readIdentityFile(loop, silentLogger)).toMatchObject({ failure: 'FILE' })
  })

  it('is whole at every moment while several write and read it', async () => {
    await writeIdentityFile(path, stored)
    const reads: unknown[] = []
    const writing = Promise.all(Array.from({ length: 20 }, () => writeIdentityFile(path, stored)))
    for (let i = 0; i < 40; i++) reads.push(await readIdentityFile(path, silentLogger))
    await writing
    expect(reads.filter((read) => read === undefined || isFailure(read))).toEqual([])
    expect(await readdir(join(path, '..'))).toEqual(['identity'])
  })
})
