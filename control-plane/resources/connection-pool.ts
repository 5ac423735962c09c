import * as z from 'zod'
import { duration, uint32 } from './fields.ts'
import type { Report } from './kind.ts'

/** Envoy's reading of Istio's numbers: per client process and cluster; 0 and absent = no limit. */
export const connectionPool = z.strictObject({
  tcp: z
    .strictObject({
      maxConnections: uint32.optional().describe('Connections of this process to all hosts together.'),
      connectTimeout: duration(1).optional().describe('TCP and TLS together.'),
      idleTimeout: duration(0).optional().describe('Where http.idleTimeout is absent. 0s = none.'),
      maxConnectionDuration: duration(1).optional().describe('Age at which a connection takes no more requests.'),
      tcpKeepalive: z
        .strictObject({
          probes: uint32.optional(),
          time: duration(0).optional(),
          interval: duration(0).optional(),
        })
        .optional()
        .describe('Not acted on: idle sockets are probed after 60 s.'),
    })
    .optional(),
  http: z
    .strictObject({
      http1MaxPendingRequests: uint32.optional().describe('Requests that wait for a connection.'),
      http2MaxRequests: uint32.optional().describe('Requests under way, whatever the protocol.'),
      maxRequestsPerConnection: uint32.optional().describe('1 = no keep-alive; 0 = no limit.'),
      maxRetries: uint32.optional().describe('Retries under way at one time.'),
      idleTimeout: duration(0).optional().describe('ms without a byte. 0s = none.'),
      h2UpgradePolicy: z
        .enum(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'])
        .default('DEFAULT')
        .describe('UPGRADE = HTTP/2 to the hosts; DEFAULT = as ServicePolicy or MeshConfig say.'),
      useClientProtocol: z.boolean().optional().describe('Not acted on: calls begin in this process.'),
      maxConcurrentStreams: uint32
        .optional()
        .describe('Not acted on: an HTTP/2 connection carries up to 100 requests.'),
    })
    .optional(),
})

export type ConnectionPool = z.output<typeof connectionPool>

/** What of it has no effect in process. */
export function checkConnectionPool(
  { tcp, http }: ConnectionPool,
  path: readonly (string | number)[],
  report: Report,
): void {
  const inert = (field: string[], why: string) => report('warning', [...path, ...field], why)
  if (tcp?.tcpKeepalive !== undefined)
    inert(['tcp', 'tcpKeepalive'], 'has no effect: idle sockets are probed after 60 s')
  if (tcp?.maxConnectionDuration !== undefined)
    inert(['tcp', 'maxConnectionDuration'], 'is not supported yet and has no effect')
  if (http?.useClientProtocol !== undefined)
    inert(
      ['http', 'useClientProtocol'],
      'has no effect: calls begin in this process, h2UpgradePolicy chooses the protocol',
    )
  if (http?.maxConcurrentStreams !== undefined)
    inert(['http', 'maxConcurrentStreams'], 'has no effect: an HTTP/2 connection carries up to 100 requests')
}
