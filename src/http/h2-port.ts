import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  createServer,
  type Http2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from 'node:http2'
import type { Socket } from 'node:net'
import { systemRandom, unit } from '../engine/random.ts'
import { MAX_HEADER_LINES } from './request-head.ts'

/** Streams at one time on one connection. */
const MAX_STREAMS = 1_000

/**
 * The HTTP/2 half of a mesh server: takes connections on which HTTP/2 is spoken for certain (agreed by ALPN, or begun with
 * its preface) and shows their requests in the shape of HTTP/1.1, so that one admission judges both.
 */
export class H2Port {
  private readonly server: Http2Server
  private readonly sessions = new Set<ServerHttp2Session>()
  private draining = false

  constructor(request: (request: IncomingMessage, response: ServerResponse) => void) {
    const server = createServer({
      settings: { maxConcurrentStreams: MAX_STREAMS, enablePush: false },
      // Pseudo headers come on top.
      maxHeaderListPairs: MAX_HEADER_LINES + 8,
    })
    server.on('session', (session) => {
      this.sessions.add(session)
      session.on('close', () => this.sessions.delete(session))
      if (this.draining) session.close()
    })
    server.on('request', (req, res) => {
      if (likeHttp1(req)) request(req as unknown as IncomingMessage, res as unknown as ServerResponse)
      else refuse(res)
    })
    // A broken session ends its own requests; there is nobody else to be told.
    server.on('sessionError', () => undefined)
    this.server = server
  }

  take(socket: Socket): void {
    this.server.emit('connection', socket)
  }

  /** GOAWAY, to each session at some time within `spreadMs`: what is under way ends, nothing new comes. */
  drain(spreadMs = 0): void {
    this.draining = true
    for (const session of this.sessions) {
      if (spreadMs === 0) session.close()
      else setTimeout(() => session.close(), unit(systemRandom) * spreadMs).unref()
    }
  }
}

/**
 * Puts the authority where HTTP/1.1 has it, takes pseudo headers out of the raw list, and keeps each line of a header.
 * @returns false = two different authorities (RFC 9113 section 8.3.1)
 */
function likeHttp1(request: Http2ServerRequest): boolean {
  const { headers, rawHeaders } = request
  const authority = headers[':authority']
  const kept: string[] = []
  const distinct: Record<string, string[]> = {}
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!
    if (name.startsWith(':')) continue
    const value = rawHeaders[i + 1]!
    if (name === 'host' && authority !== undefined && value.toLowerCase() !== authority.toLowerCase()) return false
    kept.push(name, value)
    distinct[name] ??= []
    distinct[name].push(value)
  }
  if (authority !== undefined && distinct.host === undefined) {
    kept.push('host', authority)
    distinct.host = [authority]
    headers.host = authority
  }
  Object.defineProperties(request, {
    rawHeaders: { value: kept, writable: true, configurable: true },
    headersDistinct: { value: distinct, writable: true, configurable: true },
  })
  return true
}

function refuse(response: Http2ServerResponse): void {
  response.writeHead(400, { 'content-type': 'text/plain' })
  response.end('host and :authority differ\n')
}
