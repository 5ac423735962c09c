import { gunzipSync, inflateSync } from 'node:zlib'
import type { Metadata } from '@grpc/grpc-js'
import type { GrpcCall, GrpcListener } from '../types.ts'

const PREFIX = 5
const COMPRESSED = 1

/** What the compression filter of grpc-js says for itself; whoever makes the try says it anew. */
const filterHeaders = ['grpc-timeout', 'grpc-encoding', 'grpc-accept-encoding', 'accept-encoding']

/**
 * A call of the mesh in the place of a stream on a connection of grpc-js: above that place messages are framed (1 byte of
 * flags, 4 of length), and perhaps compressed, by a filter that cannot be taken out.
 */
export class FramedCall {
  private readonly call: GrpcCall
  private readonly encoding: string
  private readonly number: number

  constructor(call: GrpcCall, metadata: Metadata, listener: GrpcListener, number: number) {
    this.call = call
    this.number = number
    this.encoding = String(metadata.get('grpc-encoding')[0] ?? 'identity')
    const own = metadata.clone()
    for (const name of filterHeaders) own.remove(name)
    call.start(own, {
      onReceiveMetadata: (answer) => listener.onReceiveMetadata(answer),
      onReceiveMessage: (message: Buffer) => listener.onReceiveMessage(framed(message)),
      onReceiveStatus: (status) => listener.onReceiveStatus(status),
    })
  }

  sendMessageWithContext(context: Parameters<GrpcCall['sendMessageWithContext']>[0], message: Buffer): void {
    this.call.sendMessageWithContext(context, unframed(message, this.encoding))
  }

  startRead(): void {
    this.call.startRead()
  }

  halfClose(): void {
    this.call.halfClose()
  }

  cancelWithStatus(status: number, details: string): void {
    this.call.cancelWithStatus(status, details)
  }

  getPeer(): string {
    return this.call.getPeer()
  }

  getCallNumber(): number {
    return this.number
  }

  /** For the text of DEADLINE_EXCEEDED. */
  getDeadlineInfo(): string[] {
    return [`remote_addr=${this.call.getPeer()}`]
  }

  getAuthContext(): ReturnType<GrpcCall['getAuthContext']> | Record<string, never> {
    return this.call.getAuthContext() ?? {}
  }
}

/** ms since 1970 by which a `grpc-timeout` ends; Infinity = there is none. */
export function deadlineIn(metadata: Metadata): number {
  const match = /^(\d{1,8})([HMSmun])$/.exec(String(metadata.get('grpc-timeout')[0] ?? ''))
  return match === null ? Number.POSITIVE_INFINITY : Date.now() + Number(match[1]) * msPer[match[2]!]!
}

const msPer: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 }

function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(PREFIX + message.length)
  frame[0] = 0
  frame.writeUInt32BE(message.length, 1)
  message.copy(frame, PREFIX)
  return frame
}

/** Compressed messages are rare, and the try compresses anew: another host may not know the encoding. */
function unframed(frame: Buffer, encoding: string): Buffer {
  const message = frame.subarray(PREFIX)
  if (frame[0] !== COMPRESSED) return message
  return encoding === 'gzip' ? gunzipSync(message) : inflateSync(message)
}
