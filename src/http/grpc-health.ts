import { connect } from 'node:http2'
import type { Socket } from 'node:net'
import type { CheckResult } from '../engine/health.ts'
import { PRIORITY_HEADER } from '../transport/hop-headers.ts'

const SERVING = 1
/** An answer has a few bytes; more is not one. */
const MAX_ANSWER = 1024

/**
 * Asks grpc.health.v1.Health/Check over a connection that stands (https://github.com/grpc/grpc/blob/master/doc/health-checking.md).
 * The two messages are so small that they are written and read by hand.
 * @returns closes the connection
 */
export function grpcHealth(
  socket: Socket,
  authority: string,
  service: string,
  report: (result: CheckResult) => void,
): () => void {
  const session = connect('http://localhost', { createConnection: () => socket })
  session.on('error', () => report('failed'))
  session.unref()
  const stream = session.request({
    ':method': 'POST',
    ':authority': authority,
    ':path': '/grpc.health.v1.Health/Check',
    'content-type': 'application/grpc',
    te: 'trailers',
    'user-agent': 'inmesh/health-check',
    // A server that sheds load is busy, not sick: to take it out would move its load to the others.
    [PRIORITY_HEADER]: 'CRITICAL',
  })
  let answer = Buffer.alloc(0)
  let status: number | null = null
  let http = 0
  const learn = (headers: Record<string, unknown>) => {
    if (headers[':status'] !== undefined) http = Number(headers[':status'])
    if (headers['grpc-status'] !== undefined) status = Number(headers['grpc-status'])
  }
  stream.on('response', learn)
  stream.on('trailers', learn)
  stream.on('data', (chunk: Buffer) => {
    if (answer.length <= MAX_ANSWER) answer = Buffer.concat([answer, chunk])
  })
  stream.on('error', () => report('failed'))
  stream.on('close', () => {
    // No answer of gRPC at all: as if nobody had been there.
    if (http === 0) report('failed')
    else report(http === 200 && status === 0 && servingStatus(answer) === SERVING ? 'healthy' : 'unhealthy')
  })
  stream.end(healthRequest(service))
  return () => {
    session.destroy()
    socket.destroy()
  }
}

/** A gRPC frame with HealthCheckRequest { service = 1 }. */
export function healthRequest(service: string): Buffer {
  const name = Buffer.from(service)
  const message = name.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.of(0x0a), varint(name.length), name])
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let left = value
  for (; left > 127; left >>>= 7) bytes.push((left & 127) | 128)
  bytes.push(left)
  return Buffer.from(bytes)
}

/** HealthCheckResponse.status (field 1) of a gRPC frame; 0 = unknown, or this is no such frame. */
export function servingStatus(frame: Buffer): number {
  if (frame.length < 5 || frame[0] !== 0 || frame.length !== 5 + frame.readUInt32BE(1)) return 0
  return frame.length === 7 && frame[5] === 0x08 ? frame[6]! : 0
}
