import { connect as connectTcp, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls'
import { isFailure } from '../identity/identity-failure.ts'
import { type IdentityState, MESH_SERVER_NAME } from '../identity/identity-state.ts'
import { identityError } from '../identity/verify.ts'
import type { Peer } from '../model/peer.ts'

/** Whom to dial, and who must answer. */
export interface DialTarget {
  readonly address: string
  readonly port: number
  /** ms for TCP and TLS together. */
  readonly timeoutMs: number
  /** null = no mutual TLS of the mesh. */
  readonly identity: IdentityState | null
  /** TLS to a service outside the mesh; absent = none. Never together with an identity. */
  readonly external?: ConnectionOptions | undefined
  /** undefined = any id of a known trust domain. */
  readonly allowedIds: ReadonlySet<string> | undefined
  /** What is offered by ALPN, best first. */
  readonly protocols: readonly string[]
  /** Neither the attempt nor the connection keeps the process alive. Default false. */
  readonly background?: boolean
}

export interface ConnectTimeout extends Error {
  code: 'UND_ERR_CONNECT_TIMEOUT'
}

const KEEP_ALIVE_PROBE_MS = 60_000

/**
 * Opens one connection. With an identity: TLS 1.3, our certificate of this moment, never a resumed session, a server name
 * that says nothing; the peer is verified by its SPIFFE id before anybody else gets the socket. TLS to services outside the mesh
 * is verified by its own options. Calls `done` once, later,
 * with an error or a connected socket; an 'error' listener stays on the socket.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY, at once, when mTLS is asked for and there is no valid certificate of our own
 * @returns gives up: `done` is not called any more
 */
export function dial(
  target: DialTarget,
  done: (error: Error | null, socket: Socket | null, peer: Peer | null) => void,
): () => void {
  const { address: host, port, identity, external } = target
  const socket =
    identity !== null
      ? secure(target, identity)
      : external === undefined
        ? plaintext(host, port)
        : tuned(connectTls({ host, port, ...external }))
  let settled = false
  const settle = (error: Error | null, peer: Peer | null) => {
    if (settled) return
    settled = true
    clearTimeout(timer)
    if (error === null) done(null, socket, peer)
    else {
      socket.destroy()
      done(error, null, null)
    }
  }
  const timer = setTimeout(() => {
    // After a stall of our own loop the answer may lie unread: give the poll phase its turn before judging.
    setImmediate(() => setImmediate(() => settle(timeoutError(target), null)))
  }, target.timeoutMs)
  if (target.background === true) {
    timer.unref()
    socket.unref()
  }
  socket.on('error', (error) => settle(error, null))
  socket.once('close', () => settle(new Error('the connection was closed while it was being made'), null))
  socket.once(identity === null && external === undefined ? 'connect' : 'secureConnect', () => {
    if (identity === null) return settle(null, null)
    const peer = identity.verifyPeer(socket as TLSSocket, 'server', target.allowedIds)
    if (isFailure(peer)) settle(identityError(peer), null)
    else settle(null, peer)
  })
  return () => {
    settled = true
    clearTimeout(timer)
    socket.destroy()
  }
}

function plaintext(host: string, port: number): Socket {
  return connectTcp({ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS })
}

function secure({ address: host, port, protocols }: DialTarget, identity: IdentityState): TLSSocket {
  const socket = connectTls({
    host,
    port,
    secureContext: identity.clientContext(),
    servername: MESH_SERVER_NAME,
    ALPNProtocols: [...protocols],
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
    // Hosts have no names in the mesh: verifyPeer judges the SPIFFE id once the handshake is over and before a byte is sent.
    checkServerIdentity: () => undefined,
  })
  return tuned(socket)
}

function tuned(socket: TLSSocket): TLSSocket {
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
  return socket
}

function timeoutError(target: DialTarget): ConnectTimeout {
  const message = `no connection to ${target.address}:${target.port} within ${target.timeoutMs} ms`
  return Object.assign(new Error(message), { code: 'UND_ERR_CONNECT_TIMEOUT' as const })
}
