import { Channel, type ChannelCredentials, type ChannelInterface, credentials } from '@grpc/grpc-js'
import { GrpcClients } from '../../src/grpc/clients.ts'
import { GrpcDispatcher } from '../../src/grpc/dispatcher.ts'
import type { IdentityState } from '../../src/identity/identity-state.ts'
import { systemClock } from '../../src/model/clock.ts'
import { silentLogger } from '../../src/model/logger.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import { identityOf, meshEngine } from '../mesh-parts.ts'
import { addresses } from '../protocol.ts'
import { benchSnapshot, plainSnapshot } from '../snapshot.ts'
import type { GrpcClientSetup } from './protocol.ts'

/** Round robin, and a deadline as an app sets it; retries as grpc-js has them. */
const serviceConfig = JSON.stringify({
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{}],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: '0.025s',
        maxBackoff: '0.25s',
        backoffMultiplier: 2,
        retryableStatusCodes: ['UNAVAILABLE'],
      },
    },
  ],
})
const target = (port: number) => `ipv4:${addresses.map((address) => `${address}:${port}`).join(',')}`

/** `traced`: it writes a traceparent of its own. */
export async function channelOf(setup: GrpcClientSetup): Promise<{ channel: ChannelInterface; traced: boolean }> {
  const { ports } = setup
  switch (setup.variant) {
    case 'bare':
    case 'control':
    case 'bare-stream':
      return { channel: bare(ports.plain, credentials.createInsecure()), traced: false }
    case 'bare-mtls': {
      const { cert, key, root } = setup.credentials
      // The certificate names a SPIFFE id and no host.
      const options = { checkServerIdentity: () => undefined }
      const secure = credentials.createSsl(Buffer.from(root), Buffer.from(key), Buffer.from(cert), options)
      return { channel: bare(ports.secure, secure), traced: false }
    }
    case 'mesh':
    case 'mesh-stream':
      return { channel: mesh(benchSnapshot(ports.plain, null), null), traced: true }
    case 'mesh-off':
      return { channel: mesh(plainSnapshot(ports.plain), null), traced: true }
    case 'mesh-mtls': {
      const identity = identityOf(setup.credentials, setup.trustDomain)
      return { channel: mesh(benchSnapshot(ports.secure, setup.serverId), identity), traced: true }
    }
    case 'grpc-js-xds': {
      process.env.GRPC_XDS_BOOTSTRAP_CONFIG = JSON.stringify({
        xds_servers: [
          {
            server_uri: `127.0.0.1:${setup.xdsPort}`,
            channel_creds: [{ type: 'insecure' }],
            server_features: ['xds_v3'],
          },
        ],
        node: { id: 'bench', cluster: 'bench', locality: { zone: 'z' }, metadata: { NAMESPACE: 'default' } },
      })
      const { register } = await import('@grpc/grpc-js-xds')
      register()
      return { channel: new Channel('xds:///payments', credentials.createInsecure(), {}), traced: false }
    }
  }
}

function mesh(snapshot: Snapshot, identity: IdentityState | null): ChannelInterface {
  const engine = meshEngine(snapshot)
  const dispatcher = new GrpcDispatcher({ engine, clock: systemClock, identity, want: () => undefined })
  return new GrpcClients({ dispatcher, logger: silentLogger, version: 'bench' }).channel('payments')
}

function bare(port: number, creds: ChannelCredentials): Channel {
  return new Channel(target(port), creds, {
    'grpc.service_config': serviceConfig,
    'grpc.ssl_target_name_override': 'inmesh.internal',
  })
}
