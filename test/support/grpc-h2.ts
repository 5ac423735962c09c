/** A server of gRPC by hand, for what one of grpc-js never does. */
import { createServer, type ServerHttp2Session, type ServerHttp2Stream, type Settings } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { frame } from '../../src/grpc/framing.ts'

export interface H2Server {
  port: number
  sessions: ServerHttp2Session[]
  streams: number
  close(): void
}

/** HTTP/2 by hand, for what a server of grpc-js never does. `n` counts streams from 1. */
export async function serveH2(
  onStream: (stream: ServerHttp2Stream, n: number) => void,
  settings: Settings = {},
): Promise<H2Server> {
  const server = createServer({ settings })
  const made: H2Server = {
    port: 0,
    sessions: [],
    streams: 0,
    close() {
      for (const session of made.sessions) session.destroy()
      server.close()
    },
  }
  server.on('session', (session) => {
    made.sessions.push(session)
    session.on('error', () => undefined)
  })
  server.on('stream', (stream) => {
    stream.on('error', () => undefined)
    onStream(stream, ++made.streams)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  made.port = (server.address() as AddressInfo).port
  return made
}

/** Of an answer of gRPC. */
export const HEAD = { ':status': 200, 'content-type': 'application/grpc' }

/** One message, and what trailers there are. */
export function answer(stream: ServerHttp2Stream, text = 'well', trailers: Record<string, string> = {}): void {
  stream.respond(HEAD, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', ...trailers }))
  stream.end(frame(Buffer.from(text), false))
}

/** Trailers only. */
export function fail(stream: ServerHttp2Stream, code: number, more: Record<string, string> = {}): void {
  stream.respond({ ...HEAD, 'grpc-status': String(code), ...more }, { endStream: true })
}
