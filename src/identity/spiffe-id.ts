import { type IdentityFailure, identityFailure } from './identity-failure.ts'

declare const parsed: unique symbol

/** A SPIFFE id that the parser has accepted; nothing else can make one. */
export interface SpiffeId {
  /** The whole id, byte for byte as it was given. */
  readonly text: string
  readonly trustDomain: string
  /** '' or "/a/b". */
  readonly path: string
  /** Of a path that is exactly /ns/<namespace>/sa/<serviceAccount>, else ''. Means something in the own trust domain only. */
  readonly namespace: string
  readonly serviceAccount: string
  readonly [parsed]: true
}

const SCHEME = 'spiffe://'
/** SPIFFE-ID.md 2.3: ids up to this length must work; longer ones are refused here. */
const MAX_LENGTH = 2048
/** SPIFFE-ID.md 2.3. */
const MAX_TRUST_DOMAIN = 255

const SLASH = 47
const DOT = 46

/** a-z 0-9 . - _ (SPIFFE-ID.md 2.1) */
function isTrustDomainCode(c: number): boolean {
  return (c >= 97 && c <= 122) || (c >= 48 && c <= 57) || c === DOT || c === 45 || c === 95
}

/**
 * Reads a SPIFFE id (SPIFFE-ID.md 2) exactly as it stands: no folding, decoding, trimming or normalising, because two
 * readers that normalise differently are two identities. Upper-case schemes are refused.
 *
 *     parseSpiffeId('spiffe://cluster.local/ns/shop/sa/orders')
 *     // { trustDomain: 'cluster.local', path: '/ns/shop/sa/orders', namespace: 'shop', serviceAccount: 'orders', ... }
 */
export function parseSpiffeId(text: string): SpiffeId | IdentityFailure {
  if (text.length > MAX_LENGTH) return refuse(text, `longer than ${MAX_LENGTH} bytes`)
  if (!text.startsWith(SCHEME)) return refuse(text, `does not start with ${SCHEME}`)
  let domainEnd = text.length
  let segmentStart = -1
  let dotsOnly = true
  for (let i = SCHEME.length; i <= text.length; i++) {
    const c = i === text.length ? SLASH : text.charCodeAt(i)
    if (c !== SLASH) {
      const inPath = segmentStart >= 0
      if (!isTrustDomainCode(c) && !(inPath && c >= 65 && c <= 90)) {
        return refuse(text, `character ${i + 1} is not allowed in ${inPath ? 'the path' : 'a trust domain'}`)
      }
      if (c !== DOT) dotsOnly = false
      continue
    }
    if (segmentStart < 0) {
      domainEnd = i
    } else {
      const length = i - segmentStart
      if (length === 0) return refuse(text, 'empty path segment')
      if (dotsOnly && length <= 2) return refuse(text, 'relative path segment')
    }
    segmentStart = i + 1
    dotsOnly = true
  }
  const trustDomain = text.slice(SCHEME.length, domainEnd)
  if (trustDomain === '') return refuse(text, 'no trust domain')
  if (trustDomain.length > MAX_TRUST_DOMAIN) return refuse(text, `trust domain longer than ${MAX_TRUST_DOMAIN} bytes`)
  const path = text.slice(domainEnd)
  const segments = path.split('/')
  const workload = segments.length === 5 && segments[1] === 'ns' && segments[3] === 'sa'
  const id: Omit<SpiffeId, typeof parsed> = {
    text,
    trustDomain,
    path,
    namespace: workload ? segments[2]! : '',
    serviceAccount: workload ? segments[4]! : '',
  }
  return id as SpiffeId
}

/** The id of a workload: spiffe://<trust domain>/ns/<namespace>/sa/<service account>; a failure when a part cannot stand in an id. */
export function workloadSpiffeId(
  trustDomain: string,
  namespace: string,
  serviceAccount: string,
): SpiffeId | IdentityFailure {
  const text = `${SCHEME}${trustDomain}/ns/${namespace}/sa/${serviceAccount}`
  const id = parseSpiffeId(text)
  if ('failure' in id) return id
  // A slash inside a part would have moved the borders between the parts.
  const same = id.trustDomain === trustDomain && id.namespace === namespace && id.serviceAccount === serviceAccount
  return same ? id : refuse(text, 'a part contains a slash')
}

/** The namespace and service account under which the control plane itself runs. */
export function controlPlaneSpiffeId(trustDomain: string): SpiffeId | IdentityFailure {
  return workloadSpiffeId(trustDomain, 'istio-system', 'inmesh')
}

function refuse(text: string, why: string): IdentityFailure {
  const shown = text.length > 120 ? `${text.slice(0, 120)}...` : text
  return identityFailure('SPIFFE_ID', `${JSON.stringify(shown)} is not a SPIFFE id: ${why}`)
}
