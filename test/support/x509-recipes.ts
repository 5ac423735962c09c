/** Makes the certificates that test/conformance/x509-svid.json describes. */
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type CertificateRecipe, type KeyType, makeCertificate, makeKey, pem } from './certificate.ts'

interface Recipe extends Partial<Omit<CertificateRecipe, 'key' | 'issuer'>> {
  selfSigned?: boolean
  /** Name of an authority, or "self". */
  signedBy?: string
  key?: KeyType
  notBefore: number
  notAfter: number
}

export interface Row {
  id: string
  describe: string
  leaf: Recipe
  chain: string[]
  bundle: Record<string, string[]>
  expect: 'accept' | 'reject'
  role: 'client' | 'server' | 'both'
  authorize?: { ids?: string[]; trustDomain?: string }
  rule: string
  peerId?: string
}

interface Made {
  der: Buffer
  key: KeyObject
  subject: string
}

const file = new URL('../conformance/x509-svid.json', import.meta.url)
const table = JSON.parse(readFileSync(file, 'utf8')) as { authorities: Record<string, Recipe>; rows: Row[] }

export const rows: readonly Row[] = table.rows

const made = new Map<string, Made>()
const keys = new Map<KeyType, KeyObject>()

/** Names of all authorities. */
export const authorities: readonly string[] = Object.keys(table.authorities)

export function authority(name: string): Made {
  let known = made.get(name)
  if (known === undefined) {
    known = make(table.authorities[name]!, makeKey(table.authorities[name]!.key))
    made.set(name, known)
  }
  return known
}

/** Leaf and what is sent with it, as PEM. */
export function present(row: Row): { cert: string; key: string } {
  const type = row.leaf.key ?? 'ec256'
  const key = keys.get(type) ?? makeKey(type)
  keys.set(type, key)
  const leaf = make(row.leaf, key)
  const chain = [leaf.der, ...row.chain.map((name) => authority(name).der)]
  return { cert: chain.map((der) => pem(der)).join(''), key: key.export({ type: 'pkcs8', format: 'pem' }) as string }
}

export function bundles(row: Row): Map<string, readonly Uint8Array[]> {
  return new Map(Object.entries(row.bundle).map(([domain, names]) => [domain, names.map((n) => authority(n).der)]))
}

function make(recipe: Recipe, key: KeyObject): Made {
  const { signedBy, selfSigned, key: _type, notBefore, notAfter, ...profile } = recipe
  const subject = profile.subject ?? ''
  const issuer = selfSigned === true || signedBy === 'self' || signedBy === undefined ? undefined : authority(signedBy)
  const der = makeCertificate({
    ...profile,
    uris: profile.uris ?? [],
    ca: profile.ca ?? null,
    keyUsage: profile.keyUsage ?? null,
    eku: profile.eku ?? null,
    subject,
    notBefore: Date.now() + notBefore * 1000,
    notAfter: Date.now() + notAfter * 1000,
    key,
    ...(issuer !== undefined && { issuer }),
  })
  return { der, key, subject }
}
