/** One real TLS 1.3 handshake between a peer that is tested and a verifier that decides about it. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { connect, createServer, type TLSSocket, type TlsOptions } from 'node:tls'
import { type IdentityFailure, identityFailure } from '../../src/identity/identity-failure.ts'
import { type IdentityState, MESH_SERVER_NAME } from '../../src/identity/identity-state.ts'
import type { IdentityError } from '../../src/identity/verify.ts'
import type { Peer } from '../../src/model/peer.ts'

export interface Presented {
  /** PEM, leaf first. */
  cert: string
  /** PEM. */
  key: string
  /** PEM of what the tested peer trusts: the verifier's own root. */
  trusts: string
  /** More TLS options of the tested peer. */
  tls?: TlsOptions
}

export type Verdict = Peer | IdentityFailure

/** A server (the verifier) judges a client. */
export async function judgeClient(state: IdentityState, peer: Presented): Promise<Verdict> {
  const verdict = Promise.withResolvers<Verdict>()
  const server = createServer(state.serverOptions(), (socket) => {
    socket.on('error', () => undefined) // the client may be gone already
    verdict.resolve(state.verifyPeer(socket, 'client'))
    socket.end()
  })
  server.on('tlsClientError', (error) => verdict.resolve(refusedByTls(error)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    servername: MESH_SERVER_NAME,
    checkServerIdentity: () => undefined,
    cert: peer.cert,
    key: peer.key,
    ca: peer.trusts,
    ...(peer.tls as object),
  })
  client.on('error', () => undefined) // a refusal reaches the client as an alert
  client.resume()
  try {
    return await verdict.promise
  } finally {
    client.destroy()
    server.close()
  }
}

/** A client (the verifier) judges a server. */
export async function judgeServer(
  state: IdentityState,
  peer: Presented,
  allowed?: ReadonlySet<string>,
): Promise<Verdict> {
  const server = createServer({
    cert: peer.cert,
    key: peer.key,
    ca: peer.trusts,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    ...peer.tls,
  })
  server.on('secureConnection', (socket: TLSSocket) => socket.on('error', () => undefined).resume())
  server.on('tlsClientError', () => undefined) // the client's alert
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    servername: MESH_SERVER_NAME,
    secureContext: state.clientContext(),
    checkServerIdentity: state.serverIdentityCheck(allowed),
  })
  try {
    await once(client, 'secureConnect')
    return state.verifyPeer(client, 'server', allowed)
  } catch (error) {
    return (error as Partial<IdentityError>).reason ?? refusedByTls(error as Error)
  } finally {
    client.destroy()
    server.close()
  }
}

function refusedByTls(error: Error): IdentityFailure {
  return identityFailure('UNTRUSTED', `TLS: ${(error as NodeJS.ErrnoException).code ?? ''} ${error.message}`)
}
