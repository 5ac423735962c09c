/** A certificate authority on a real TLS port, as workloads meet it. */

import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer, type TLSSocket } from 'node:tls'
import { fromBinary, toBinary } from '@bufbuild/protobuf'
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData, status } from '@grpc/grpc-js'
import { Authority, type AuthorityOptions } from '../../control-plane/ca/authority.ts'
import { IssueError } from '../../control-plane/ca/issue-error.ts'
import { createCaService } from '../../control-plane/ca/service.ts'
import { type ServingIdentity, serveIdentity } from '../../control-plane/ca/serving-identity.ts'
import {
  type IssueRequest,
  IssueRequestSchema,
  type IssueResponse,
  IssueResponseSchema,
} from '../../src/gen/inmesh/v1/ca_pb.js'
import { silentLogger } from '../../src/model/logger.ts'
import { type MemoryRecords, memoryRecords } from './memory-records.ts'

export interface CaServer {
  readonly address: string
  readonly authority: Authority
  readonly store: MemoryRecords
  readonly serving: ServingIdentity
  /** Bytes of gRPC requests that arrived, by connection. */
  readonly requests: () => number
  close(): Promise<void>
}

const definition = {
  Issue: {
    path: '/inmesh.v1.CertificateAuthority/Issue',
    requestStream: false as const,
    responseStream: false as const,
    requestSerialize: (m: IssueRequest) => Buffer.from(toBinary(IssueRequestSchema, m)),
    requestDeserialize: (b: Buffer) => fromBinary(IssueRequestSchema, b),
    responseSerialize: (m: IssueResponse) => Buffer.from(toBinary(IssueResponseSchema, m)),
    responseDeserialize: (b: Buffer) => fromBinary(IssueResponseSchema, b),
  },
}

export async function startCaServer(options: Partial<AuthorityOptions> & { port?: number } = {}): Promise<CaServer> {
  const dataDir = options.dataDir ?? (await mkdtemp(join(tmpdir(), 'inmesh-ca-')))
  const authority = await Authority.open({ trustDomain: 'cluster.local', ...options, dataDir })
  const store = memoryRecords()
  const service = createCaService({ authority, store, logger: silentLogger })
  const serving = await serveIdentity(authority, { logger: silentLogger, random: { u32: () => 0 } })
  const certificates = new Map<string, X509Certificate>()
  let requests = 0

  const grpc = new Server()
  grpc.addService(definition, {
    Issue(call: ServerUnaryCall<IssueRequest, IssueResponse>, done: sendUnaryData<IssueResponse>) {
      requests++
      const peer = call.getPeer()
      service.issue(call.request, certificates.get(peer) ?? null, peer.replace(/:\d+$/, '')).then(
        (response) => done(null, response),
        (error: Error) =>
          done({ code: error instanceof IssueError ? error.status : status.INTERNAL, details: error.message }),
      )
    },
  })
  const injector = grpc.createConnectionInjector(ServerCredentials.createInsecure())
  const sockets = new Set<TLSSocket>()
  const { SNICallback: _unused, ...tls } = serving.state.serverOptions()
  // The one exception to "every peer has a certificate": whoever is new has none.
  const server = createServer({ ...tls, rejectUnauthorized: false, ALPNProtocols: ['h2'] }, (socket) => {
    socket.on('error', () => socket.destroy())
    const certificate = socket.getPeerX509Certificate()
    if (certificate !== undefined) {
      if ('failure' in serving.state.verifyPeer(socket, 'client')) return socket.destroy()
      certificates.set(`${socket.remoteAddress}:${socket.remotePort}`, new X509Certificate(certificate.raw))
    }
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
    injector.injectConnection(socket)
  })
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  server.listen(options.port ?? 0, '127.0.0.1')
  await once(server, 'listening')
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    authority,
    store,
    serving,
    requests: () => requests,
    async close() {
      serving.close()
      server.close()
      for (const socket of sockets) socket.destroy()
      grpc.forceShutdown()
      if (options.dataDir === undefined) await rm(dataDir, { recursive: true })
    },
  }
}
