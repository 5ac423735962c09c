import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { chmod, mkdtemp, readdir, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { type CertificateProfile, KeyUsage, readCertificateProfile } from '../../src/identity/certificate-profile.ts'
import { createPrivateKey } from '../../src/identity/csr.ts'
import { parseSpiffeId, type SpiffeId } from '../../src/identity/spiffe-id.ts'
import { silentLogger } from '../../src/model/logger.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { Authority, type AuthorityOptions, spkiOf } from './authority.ts'
import { serveIdentity } from './serving-identity.ts'

const directories: string[] = []
afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true })
})

async function dataDir(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'inmesh-authority-'))
  directories.push(directory)
  return directory
}

async function open(options: Partial<AuthorityOptions> = {}): Promise<Authority> {
  return Authority.open({ dataDir: await dataDir(), trustDomain: 'cluster.local', ...options })
}

const ORDERS = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/orders') as SpiffeId

async function sign(authority: Authority, options: { service?: string; ttlMs?: number } = {}) {
  const key = await createPrivateKey()
  const leaf = await authority.sign({ spiffeId: ORDERS, service: 'orders', spki: spkiOf(key), ...options })
  return {
    leaf,
    certificate: new X509Certificate(leaf.der),
    profile: readCertificateProfile(leaf.der) as CertificateProfile,
  }
}

describe('root', () => {
  it('is made on the first start and found on the second', async () => {
    const directory = await dataDir()
    const first = await open({ dataDir: directory })
    const second = await open({ dataDir: directory })
    expect(second.rootSha256).toBe(first.rootSha256)
    expect((await readdir(join(directory, 'ca'))).sort()).toEqual(['root.crt', 'root.key'])
    expect((await stat(join(directory, 'ca', 'root.key'))).mode & 0o777).toBe(0o600)
    const profile = readCertificateProfile(first.rootDer) as CertificateProfile
    expect(profile).toMatchObject({
      ca: true,
      keyUsage: KeyUsage.keyCertSign | KeyUsage.cRLSign,
      uris: ['spiffe://cluster.local'],
    })
    expect(profile.notAfter - Date.now()).toBeGreaterThan(9.9 * 365 * 86_400_000)
    const root = new X509Certificate(first.rootDer)
    expect(root.verify(root.publicKey)).toBe(true)
    expect((await open()).rootPem).not.toBe(first.rootPem)
    expect(new X509Certificate((await open()).rootDer).subject).not.toBe(root.subject)
  })

  it('is one, even when two processes start at once', async () => {
    const directory = await dataDir()
    const all = await Promise.all(Array.from({ length: 8 }, () => open({ dataDir: directory })))
    expect(new Set(all.map((authority) => authority.rootSha256)).size).toBe(1)
    expect((await readdir(join(directory, 'ca'))).sort()).toEqual(['root.crt', 'root.key'])
  })

  it('is refused when others may read the key', async () => {
    const directory = await dataDir()
    await open({ dataDir: directory })
    for (const mode of [0o640, 0o604, 0o644]) {
      await chmod(join(directory, 'ca', 'root.key'), mode)
      await expect(open({ dataDir: directory })).rejects.toThrow(/mode .*: expected 600/)
    }
  })

  it('is refused when files are missing, broken, of another mesh, or do not belong together', async () => {
    const directory = await dataDir()
    const crt = join(directory, 'ca', 'root.crt')
    const key = join(directory, 'ca', 'root.key')
    const { rootPem } = await open({ dataDir: directory })
    await expect(open({ dataDir: directory, trustDomain: 'other.org' })).rejects.toThrow(/spiffe:\/\/cluster.local/)
    await expect(open({ dataDir: directory, now: () => Date.now() + 11 * 365 * 86_400_000 })).rejects.toThrow(/expired/)
    const stranger = createTestCa('cluster.local')
    await writeFile(crt, stranger.rootPem)
    await expect(open({ dataDir: directory })).rejects.toThrow(/does not belong to the key/)
    await writeFile(crt, stranger.issue(ORDERS.text).certPem)
    await expect(open({ dataDir: directory })).rejects.toThrow(/not a CA certificate/)
    await writeFile(crt, 'rubbish')
    await expect(open({ dataDir: directory })).rejects.toThrow(/no certificate/)
    await writeFile(crt, rootPem)
    const good = await readFile(key)
    await writeFile(key, 'rubbish')
    await expect(open({ dataDir: directory })).rejects.toThrow(/no private key/)
    await unlink(key)
    await expect(open({ dataDir: directory })).rejects.toThrow(/its key .* is not/)
    await writeFile(key, good, { mode: 0o600 })
    expect((await open({ dataDir: directory })).rootPem).toBe(rootPem)
  })

  it('may be one that was made elsewhere, of RSA', async () => {
    const directory = await dataDir()
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    await open({ dataDir: directory })
    await unlink(join(directory, 'ca', 'root.crt'))
    await writeFile(join(directory, 'ca', 'root.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }))
    const authority = await open({ dataDir: directory })
    const { certificate } = await sign(authority)
    expect(certificate.verify(new X509Certificate(authority.rootDer).publicKey)).toBe(true)
  })
})

describe('leaf', () => {
  it('has the profile of a workload and nothing more', async () => {
    const authority = await open()
    const before = Date.now()
    const { leaf, certificate, profile } = await sign(authority)
    const root = new X509Certificate(authority.rootDer)
    expect(certificate.checkIssued(root) && certificate.verify(root.publicKey)).toBe(true)
    expect(profile).toMatchObject({
      uris: [ORDERS.text],
      ca: false,
      keyUsage: KeyUsage.digitalSignature,
      extendedKeyUsage: ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2'],
      serialNumber: leaf.serialNumber,
    })
    expect(certificate.subject).toBe('CN=orders')
    expect(leaf.serialNumber).toMatch(/^[4-7][0-9a-f]{31}$/)
    expect(before - profile.notBefore).toBeGreaterThanOrEqual(299_000)
    expect(before - profile.notBefore).toBeLessThanOrEqual(302_000)
    expect(profile.notAfter - before).toBeGreaterThan(86_390_000)
    expect(profile.notAfter - before).toBeLessThanOrEqual(86_401_000)
    expect((await sign(authority)).leaf.serialNumber).not.toBe(leaf.serialNumber)
  })

  it('lives as long as it was wished for, within the limits of the authority and of the root', async () => {
    const authority = await open({ defaultTtlMs: 60_000, maxTtlMs: 120_000 })
    const life = async (ttlMs?: number) =>
      Math.round(((await sign(authority, { ttlMs })).leaf.notAfter - Date.now()) / 1000)
    expect(await life()).toBeGreaterThanOrEqual(58)
    expect(await life()).toBeLessThanOrEqual(60)
    expect(await life(10_000)).toBeLessThanOrEqual(10)
    expect(await life(86_400_000)).toBeLessThanOrEqual(120)
    expect(await life(-5)).toBeLessThanOrEqual(1)
    let now = Date.now()
    const old = await open({ now: () => now })
    const end = (readCertificateProfile(old.rootDer) as CertificateProfile).notAfter
    now = end - 3_600_000
    expect((await sign(old)).leaf.notAfter).toBe(end)
    now = end + 1
    await expect(sign(old)).rejects.toThrow(/root of the mesh has expired/)
  })

  it('has an empty subject and a critical name when the service is too long for a common name', async () => {
    const { certificate, leaf } = await sign(await open(), { service: 'x'.repeat(65) })
    expect(certificate.subject ?? '').toBe('')
    // critical TRUE right after the OID of subjectAltName
    expect(leaf.der.includes(Buffer.from('0603551d110101ff', 'hex'))).toBe(true)
    const { leaf: named } = await sign(await open())
    expect(named.der.includes(Buffer.from('0603551d110101ff', 'hex'))).toBe(false)
  })
})

describe('the own certificate of the control plane', () => {
  it('carries its id and shows the root, and is renewed in time', async () => {
    const authority = await open()
    const { state, close } = await serveIdentity(authority, {
      logger: silentLogger,
      random: { u32: () => 0 },
      ttlMs: 2_000,
    })
    try {
      const first = state.current
      expect(first?.spiffeId.text).toBe('spiffe://cluster.local/ns/istio-system/sa/inmesh')
      expect(first?.chain.map((der) => Buffer.from(der).equals(authority.rootDer))).toEqual([false, true])
      expect([...state.bundles.keys()]).toEqual(['cluster.local'])
      await new Promise<void>((resolve) => {
        state.onChange(({ what }) => what === 'identity' && resolve())
      })
      expect(state.current?.serialNumber).not.toBe(first?.serialNumber)
    } finally {
      close()
    }
  })
})
