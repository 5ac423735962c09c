import { InmeshError } from '../errors.ts'
import type { TrustBundles } from '../model/snapshot.ts'
import { trustBundles } from './trust-bundle.ts'

interface Jwk {
  readonly use?: unknown
  readonly x5c?: unknown
}

/**
 * A map of SPIFFE bundles (gRFC A87): `{"trust_domains": {"example.org": {"keys": [{"use": "x509-svid", "x5c": [...]}]}}}`. Keys of
 * another use are left out; a domain without any trusts nobody.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY naming file, trust domain and key
 */
export function readSpiffeBundleMap(text: string, path: string): TrustBundles {
  const refuse = (reason: string): never => {
    throw new InmeshError('ERR_INMESH_IDENTITY', `${path}: ${reason}`)
  }
  let map: unknown
  try {
    map = JSON.parse(text)
  } catch (error) {
    return refuse(`is not JSON: ${error instanceof Error ? error.message : String(error)}`)
  }
  const domains = isObject(map) ? map.trust_domains : undefined
  if (!isObject(domains)) return refuse('trust_domains is missing')
  const pairs = Object.entries(domains).map(([name, bundle]) => {
    const keys = isObject(bundle) ? bundle.keys : undefined
    if (!Array.isArray(keys)) return refuse(`${name}: keys is missing`)
    if (!/^[a-z0-9._-]{1,255}$/.test(name)) refuse(`"${name}" is not a trust domain`)
    const anchors = keys.flatMap((key: Jwk, i) => {
      if (key?.use !== 'x509-svid') return []
      if (!Array.isArray(key.x5c) || key.x5c.length !== 1 || typeof key.x5c[0] !== 'string')
        return refuse(`${name}: keys[${i}].x5c must hold exactly one certificate`)
      return [Buffer.from(key.x5c[0], 'base64')]
    })
    return [name, anchors] as const
  })
  return trustBundles(pairs, path)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
