import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js'
import { afterEach, expect, it } from 'vitest'
import { Harness } from '../../control-plane/testing/harness.ts'

const harness = new Harness()
afterEach(() => harness.cleanUp())

const echo = (value: Buffer) => value
const service = {
  WhoAreYou: {
    path: '/test.Echo/WhoAreYou',
    ...{ requestStream: false, responseStream: false },
    ...{ requestSerialize: echo, requestDeserialize: echo, responseSerialize: echo, responseDeserialize: echo },
  },
} as const

/** A plain gRPC server, known to the mesh only because the test puts it into the registry. */
async function plainServer(name: string): Promise<number> {
  const server = new Server()
  server.addService(service, {
    WhoAreYou: (_call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => done(null, Buffer.from(name)),
  })
  harness.after(() => server.forceShutdown())
  return new Promise((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    ),
  )
}

it('an unmodified grpc-js-xds client calls two servers in turn through xds:///', async () => {
  const controlPlane = await harness.start({ insecureXds: '127.0.0.1:0' })
  // The servers speak no mTLS; that of the mesh's own workloads is required otherwise.
  await controlPlane.apply(
    '{ apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: { name: echo, namespace: default }, spec: { mtls: { mode: DISABLE } } }',
  )
  const ports = await Promise.all(['one', 'two'].map(plainServer))
  await controlPlane.store.endpoints.change(
    ports.map((port) => ({
      ...{ service: 'echo', namespace: 'default', address: '127.0.0.1', port, labels: { app: 'echo' } },
      ...{ locality: '', weight: 1, spiffeId: 'spiffe://cluster.local/ns/default/sa/echo' },
      ...{ health: 'HEALTHY' as const, instanceId: `echo-${port}` },
    })),
    [],
  )
  const { revision } = await controlPlane.store.snapshot()
  await expect.poll(() => controlPlane.revision()).toMatchObject({ revision, error: '' })

  const bootstrap = {
    xds_servers: [
      {
        server_uri: `127.0.0.1:${controlPlane.ports.insecureXds}`,
        channel_creds: [{ type: 'insecure' }],
        server_features: ['xds_v3'],
      },
    ],
    // grpc-js-xds wants cluster and locality, and says something else when they are missing.
    node: { id: 'client-1', cluster: 'clients', locality: { zone: 'z' }, metadata: { NAMESPACE: 'default' } },
  }
  const client = spawn(process.execPath, [join(import.meta.dirname, 'grpc-js-xds-client.mjs'), 'xds:///echo', '20'], {
    env: { ...process.env, GRPC_XDS_BOOTSTRAP_CONFIG: JSON.stringify(bootstrap) },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  harness.after(() => client.kill('SIGKILL'))
  let output = ''
  let errors = ''
  client.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  client.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const [code] = await once(client, 'close')
  expect({ code, errors }).toEqual({ code: 0, errors: '' })
  const result = JSON.parse(output) as { answers: Record<string, number> }
  expect(result.answers).toEqual({ one: 10, two: 10 })
})
