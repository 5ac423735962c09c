/** The server process: grpc-js without the mesh, which answers 1 KB in plaintext and over mutual TLS. */
import {
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
} from '@grpc/grpc-js'
import type { ServerSetup } from '../protocol.ts'
import type { GrpcServerPorts } from './protocol.ts'
import { answer, service } from './service.ts'

async function listen(credentials: ServerCredentials): Promise<number> {
  const server = new Server()
  server.addService(service, {
    get: (_call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) => done(null, answer),
    talk: (call: ServerDuplexStream<Buffer, Buffer>) =>
      void call.on('data', () => call.write(answer)).on('end', () => call.end()),
  })
  return new Promise((resolve, reject) =>
    server.bindAsync('0.0.0.0:0', credentials, (error, port) => (error === null ? resolve(port) : reject(error))),
  )
}

process.once('message', async ({ credentials: { cert, key, root } }: ServerSetup) => {
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(cert) }
  const ports: GrpcServerPorts = {
    plain: await listen(ServerCredentials.createInsecure()),
    secure: await listen(ServerCredentials.createSsl(Buffer.from(root), [pair], true)),
  }
  process.send!(ports)
})
