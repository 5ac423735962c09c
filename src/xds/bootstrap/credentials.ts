import type { CertificateFiles } from '../../model/certificate-files.ts'
import type { JsonPlace } from './json-place.ts'

export type ChannelCredentialsConfig =
  | { readonly type: 'insecure' }
  /** gRFC A65; roots null = those that Node trusts. */
  | { readonly type: 'tls'; readonly files: CertificateFiles }

/** The first kind that is known counts (A27). */
export function channelCredentials(list: JsonPlace): ChannelCredentialsConfig {
  const seen: string[] = []
  for (const entry of list.list()) {
    const type = entry.need('type').nonEmpty()
    if (type === 'insecure') return { type }
    if (type === 'tls') {
      const files = tlsFiles(entry.at('config'))
      if (files.roots?.kind === 'spiffe')
        entry
          .need('config')
          .fail('spiffe_trust_bundle_map_file is not supported for xDS servers: they are known by name')
      return { type, files }
    }
    seen.push(`"${type}"`)
  }
  return list.fail(
    `${seen.length === 0 ? 'is empty' : `${seen.join(', ')} not supported`}, expected "insecure" or "tls"`,
  )
}

const REFRESH_MS = 600_000

const fields = [
  'certificate_file',
  'private_key_file',
  'ca_certificate_file',
  'spiffe_trust_bundle_map_file',
  'refresh_interval',
]

/** The plugin `file_watcher` (gRFC A29, A87): a certificate with its key, roots, or both. */
export function fileWatcher(config: JsonPlace): CertificateFiles {
  const files = readFiles(config)
  if (files.certificate === null && files.roots === null)
    return config.fail('needs certificate_file and private_key_file, or ca_certificate_file, or both')
  return files
}

function tlsFiles(config: JsonPlace | undefined): CertificateFiles {
  return config === undefined ? { certificate: null, roots: null, refreshMs: REFRESH_MS } : readFiles(config)
}

function readFiles(config: JsonPlace): CertificateFiles {
  for (const [name, place] of config.entries())
    if (!fields.includes(name)) place.warn('is not known here and has no effect')
  const chain = config.at('certificate_file')?.nonEmpty()
  const key = config.at('private_key_file')?.nonEmpty()
  if ((chain === undefined) !== (key === undefined))
    return config.fail('certificate_file and private_key_file go together')
  const ca = config.at('ca_certificate_file')?.nonEmpty()
  const map = config.at('spiffe_trust_bundle_map_file')?.nonEmpty()
  return {
    certificate: chain === undefined || key === undefined ? null : { chain, key },
    // A87: the map comes before the roots that are good for everybody.
    roots: map !== undefined ? { kind: 'spiffe', path: map } : ca !== undefined ? { kind: 'ca', path: ca } : null,
    refreshMs: config.at('refresh_interval')?.durationMs() ?? REFRESH_MS,
  }
}
