import { mkdtempSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Logger } from '../model/logger.ts'
import { silentLogger } from '../model/logger.ts'
import { ResourceCache } from './cache.ts'
import { decodeCache, encodeCache } from './cache-file.ts'
import { TypeUrl } from './proto.ts'

const hour = 3_600_000

describe('the cache of configuration', () => {
  let folder: string
  let path: string
  let wall: number
  let warnings: string[]
  const logger: Logger = {
    ...silentLogger,
    warn: (message, fields) => {
      warnings.push(`${message}: ${fields?.path ?? ''} ${fields?.error instanceof Error ? fields.error.message : ''}`)
    },
  }
  const open = (at = path) => new ResourceCache({ path: at, logger, now: () => wall })
  const bytes = (n: number, length = 100) => new Uint8Array(length).fill(n)

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'inmesh-cache-'))
    path = join(folder, 'snapshot.cache')
    wall = 1_000_000 * hour
    warnings = []
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  it('gives back after a restart what was accepted, byte for byte', async () => {
    const cache = open()
    cache.put(TypeUrl.cluster, 'outbound|80||a', 'v1', bytes(1))
    cache.put(TypeUrl.endpoints, 'outbound|80||a', 'v2', bytes(2))
    await cache.close()
    wall += 5_000
    const again = open()
    expect(again.get(TypeUrl.cluster, 'outbound|80||a')).toMatchObject({ version: 'v1', value: bytes(1) })
    expect(again.get(TypeUrl.endpoints, 'outbound|80||a')).toMatchObject({ version: 'v2', value: bytes(2) })
    expect(again.get(TypeUrl.cluster, 'other')).toBeUndefined()
    expect(again.ageMs).toBe(5_000)
    expect(warnings).toEqual([])
  })

  it('says nothing and is infinitely old when there is no file', () => {
    expect(open().ageMs).toBe(Number.POSITIVE_INFINITY)
    expect(warnings).toEqual([])
  })

  it('can be read by its owner only, and leaves no temporary file', async () => {
    const cache = open()
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1))
    await cache.flush()
    cache.put(TypeUrl.cluster, 'a', 'v2', bytes(2))
    await cache.close()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect((await readdir(folder)).sort()).toEqual(['snapshot.cache', 'snapshot.cache.prev'])
  })

  it('forgets what does not exist any more, also what another instance had written', async () => {
    const other = open()
    other.put(TypeUrl.cluster, 'gone', 'v1', bytes(1))
    other.put(TypeUrl.cluster, 'kept', 'v1', bytes(2))
    await other.close()
    const cache = open()
    wall += 1
    cache.delete(TypeUrl.cluster, 'gone')
    await cache.close()
    expect(open().get(TypeUrl.cluster, 'gone')).toBeUndefined()
    expect(open().get(TypeUrl.cluster, 'kept')).toBeDefined()
  })

  it('keeps what several instances of a service hold', async () => {
    const [a, b] = [open(), open()]
    a.put(TypeUrl.cluster, 'of-a', 'v1', bytes(1))
    b.put(TypeUrl.cluster, 'of-b', 'v1', bytes(2))
    await a.close()
    await b.close()
    const cache = open()
    expect(cache.get(TypeUrl.cluster, 'of-a')).toBeDefined()
    expect(cache.get(TypeUrl.cluster, 'of-b')).toBeDefined()
  })

  it('drops what no instance held for 24 h', async () => {
    const old = open()
    old.put(TypeUrl.cluster, 'old', 'v1', bytes(1))
    await old.close()
    wall += 24 * hour
    expect(open().get(TypeUrl.cluster, 'old')).toBeUndefined()
    const cache = open()
    cache.put(TypeUrl.cluster, 'new', 'v1', bytes(2))
    await cache.close()
    expect(decodeCache(readFileSync(path)).entries.map((e) => e.name)).toEqual(['new'])
  })

  it('keeps what a process let go for those that come after', async () => {
    const cache = open()
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1))
    cache.release(TypeUrl.cluster, 'a')
    cache.put(TypeUrl.cluster, 'b', 'v1', bytes(1))
    await cache.close()
    expect(open().get(TypeUrl.cluster, 'a')).toBeDefined()
  })

  it('survives being cut at every 512 bytes: the version before is used', async () => {
    const cache = open()
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1, 4_000))
    await cache.flush()
    cache.put(TypeUrl.cluster, 'a', 'v2', bytes(2, 6_000))
    await cache.close()
    const whole = readFileSync(path)
    for (let length = 0; length < whole.length; length += 512) {
      writeFileSync(path, whole.subarray(0, length))
      expect(open().get(TypeUrl.cluster, 'a')?.version).toBe('v1')
    }
    expect(warnings[0]).toContain(`${path} is cut off`)
  })

  it('starts empty when both files are damaged, and says which and why', () => {
    writeFileSync(path, 'no cache')
    writeFileSync(`${path}.prev`, Buffer.alloc(500))
    expect(open().ageMs).toBe(Number.POSITIVE_INFINITY)
    expect(warnings).toHaveLength(2)
    expect(warnings[1]).toContain('.prev is not a cache of inmesh')
  })

  it('does not let a damaged file replace the version before', async () => {
    const cache = open()
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1))
    await cache.flush()
    cache.put(TypeUrl.cluster, 'a', 'v2', bytes(2))
    await cache.flush()
    writeFileSync(path, 'damage')
    cache.put(TypeUrl.cluster, 'a', 'v3', bytes(3))
    await cache.close()
    expect(decodeCache(readFileSync(`${path}.prev`)).entries[0]?.version).toBe('v1')
    expect(decodeCache(readFileSync(path)).entries[0]?.version).toBe('v3')
  })

  it('goes on with the old file when it cannot write', async () => {
    const inside = join(folder, 'state')
    await mkdir(inside)
    const cache = open(join(inside, 'snapshot.cache'))
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1))
    await cache.flush()
    // Stands in for a full disk too: the name of the temporary file is taken by a folder, so nothing can be written.
    await mkdir(join(inside, `snapshot.cache.${process.pid}.tmp`))
    cache.put(TypeUrl.cluster, 'a', 'v2', bytes(2))
    await cache.flush()
    expect(warnings.join()).toContain('could not be written; the one before stays')
    expect(open(join(inside, 'snapshot.cache')).get(TypeUrl.cluster, 'a')?.version).toBe('v1')
    await rm(join(inside, `snapshot.cache.${process.pid}.tmp`), { recursive: true })
    cache.put(TypeUrl.cluster, 'a', 'v3', bytes(3))
    await cache.close()
    expect(open(join(inside, 'snapshot.cache')).get(TypeUrl.cluster, 'a')?.version).toBe('v3')
  })

  it('makes its folder when there is none', async () => {
    const deep = join(folder, 'a', 'b', 'snapshot.cache')
    const cache = open(deep)
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1))
    await cache.close()
    expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700)
    expect(open(deep).get(TypeUrl.cluster, 'a')).toBeDefined()
  })

  it('removes temporary files that killed processes left behind', () => {
    const left = join(folder, 'snapshot.cache.99999.tmp')
    writeFileSync(left, 'half')
    utimesSync(left, 1, 1)
    open()
    expect(() => statSync(left)).toThrow()
  })

  it('is written by itself a moment after a change', async () => {
    const cache = new ResourceCache({ path, logger, now: () => wall, writeAfterMs: 1 })
    cache.put(TypeUrl.cluster, 'a', 'v1', bytes(1))
    await expect.poll(() => open().get(TypeUrl.cluster, 'a')?.version).toBe('v1')
    await cache.close()
  })
})

describe('the format of the cache file', () => {
  const entry = fc.record({
    typeUrl: fc.constantFrom(...Object.values(TypeUrl)),
    name: fc.string({ unit: 'binary' }),
    version: fc.string(),
    seenAt: fc.nat(),
    value: fc.uint8Array({ maxLength: 200 }),
  })

  it('gives back what was put in', () => {
    fc.assert(
      fc.property(fc.array(entry), fc.nat(), (entries, savedAt) => {
        const decoded = decodeCache(encodeCache({ savedAt, entries }))
        expect(decoded.savedAt).toBe(savedAt)
        expect(decoded.entries.map((e) => ({ ...e, value: [...e.value] }))).toEqual(
          entries.map((e) => ({ ...e, value: [...e.value] })),
        )
      }),
    )
  })

  it('notices any byte that was changed and any cut', () => {
    const file = encodeCache({
      savedAt: 1,
      entries: [{ typeUrl: TypeUrl.cluster, name: 'a', version: 'v', seenAt: 1, value: new Uint8Array(300) }],
    })
    fc.assert(
      fc.property(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), (at, change) => {
        const damaged = Buffer.from(file)
        damaged[at] = (damaged[at] ?? 0) ^ change
        expect(() => decodeCache(damaged)).toThrow()
        expect(() => decodeCache(file.subarray(0, at))).toThrow()
      }),
    )
  })
})
