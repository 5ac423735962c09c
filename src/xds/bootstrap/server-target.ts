import { readFileSync } from 'node:fs'
import { createSecureContext } from 'node:tls'
import { ChannelCredentials } from '@grpc/grpc-js'
import type { GrpcTarget } from '../grpc-transport.ts'
import type { XdsServerConfig } from './bootstrap.ts'

/**
 * How to reach an xDS server. Files of certificates are read for each connection, so that renewed ones count from the next on; the
 * server must be who its URI names (gRFC A65).
 *
 * @throws Error for files that cannot be used
 */
export function serverTarget({ uri, credentials }: XdsServerConfig): GrpcTarget {
  if (credentials.type === 'insecure') return { target: uri, credentials: ChannelCredentials.createInsecure() }
  const { certificate, roots } = credentials.files
  const context = createSecureContext({
    minVersion: 'TLSv1.2',
    ...(roots === null ? {} : { ca: readFileSync(roots.path) }),
    ...(certificate === null ? {} : { cert: readFileSync(certificate.chain), key: readFileSync(certificate.key) }),
  })
  return { target: uri, credentials: ChannelCredentials.createFromSecureContext(context) }
}
