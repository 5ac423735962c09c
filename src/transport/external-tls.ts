import { readFileSync, statSync } from 'node:fs'
import { isIP } from 'node:net'
import {
  type ConnectionOptions,
  checkServerIdentity,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
} from 'node:tls'
import { InmeshError } from '../errors.ts'
import { compileString } from '../match/string.ts'
import type { EndpointSpec, ExternalTlsSpec, PemSource } from '../model/cluster.ts'

/**
 * How TLS is spoken to an endpoint outside the mesh (Istio's SIMPLE and MUTUAL): its chain must lead to the given roots, or to
 * those that Node trusts, and its certificate must name who is meant. TLS 1.2 and newer.
 * @throws InmeshError ERR_INMESH_IDENTITY for a file of roots, chain or key that cannot be used: nothing is sent in plaintext
 */
export function externalTlsOptions(
  spec: ExternalTlsSpec,
  endpoint: EndpointSpec,
  protocols: readonly string[],
): ConnectionOptions {
  const name = spec.sni || endpoint.hostname || endpoint.address
  return {
    secureContext: contextOf(spec),
    // An address is no server name (RFC 6066 section 3).
    ...(isIP(name) === 0 ? { servername: name } : {}),
    ALPNProtocols: [...(spec.alpn.length > 0 ? spec.alpn : protocols)],
    rejectUnauthorized: !spec.insecureSkipVerify,
    checkServerIdentity: (_host, certificate) => identityError(spec, name, certificate),
  }
}

function identityError(spec: ExternalTlsSpec, name: string, certificate: PeerCertificate): Error | undefined {
  if (spec.insecureSkipVerify || spec.anyName === true) return undefined
  if (spec.subjectAltNames.length === 0) return checkServerIdentity(name, certificate)
  const names = subjectAltNames(certificate.subjectaltname ?? '')
  for (const wanted of spec.subjectAltNames) {
    const test = compileString(wanted)
    if (names.some(test)) return undefined
    // A wildcard in the certificate stands for one label, as for every other client.
    if (wanted.kind === 'exact' && checkServerIdentity(wanted.value, certificate) === undefined) return undefined
  }
  const error = new Error(
    `the certificate names ${names.join(', ') || 'nobody'}, expected is another subject alternative name`,
  )
  return Object.assign(error, { code: 'ERR_TLS_CERT_ALTNAME_INVALID' })
}

/** Values of "DNS:a, URI:b"; Node quotes those that could be mistaken for several. */
export function subjectAltNames(text: string): string[] {
  const names: string[] = []
  for (const [, quoted, plain] of text.matchAll(/(?:^|, )[A-Za-z ]+:(?:("(?:[^"\\]|\\.)*")|([^,]*))/g))
    names.push(quoted === undefined ? plain! : (JSON.parse(quoted) as string))
  return names
}

interface Made {
  /** Times of the files that it was made of. */
  readonly stamp: string
  readonly context: SecureContext
}

const contexts = new WeakMap<ExternalTlsSpec, Made>()

/** One for all connections, until one of its files is another. */
function contextOf(spec: ExternalTlsSpec): SecureContext {
  const sources = [spec.ca, spec.client?.certificate ?? null, spec.client?.key ?? null]
  try {
    const stamp = sources.map((source) => (source?.kind === 'file' ? statSync(source.path).mtimeMs : '')).join()
    const known = contexts.get(spec)
    if (known?.stamp === stamp) return known.context
    const [ca, cert, key] = sources.map(pemOf)
    const context = createSecureContext({
      minVersion: 'TLSv1.2',
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    })
    contexts.set(spec, { stamp, context })
    return context
  } catch (cause) {
    // Chain and key are two files: while one is replaced and the other is not yet, those of before are the ones to use.
    const last = contexts.get(spec)
    if (last !== undefined) return last.context
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InmeshError('ERR_INMESH_IDENTITY', `TLS to this service cannot be spoken: ${reason}`, { cause })
  }
}

function pemOf(source: PemSource | null): string | undefined {
  if (source === null) return undefined
  return source.kind === 'inline' ? source.pem : readFileSync(source.path, 'utf8')
}
