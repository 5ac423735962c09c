import { type ClientHttp2Session, connect } from 'node:http2'
import type { Socket } from 'node:net'
import type { LoadProbe } from '../engine/load-watch.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import { decodeReport } from '../orca/binary.ts'
import { authorityOf, dialHost } from './dial-host.ts'

/** gRPC status: there is no such service. */
const UNIMPLEMENTED = '12'
/** A report is small; more is not one. Bytes. */
const MAX_REPORT = 64 * 1024
/** Servers may report less often than they are asked to; after so many periods without a word they are pinged. */
const SILENT_PERIODS = 3

/**
 * xds.service.orca.v3.OpenRcaService/StreamCoreMetrics over a connection of its own for each host, which stays open. Messages are
 * so small that they are written and read by hand.
 */
export function loadProbe(identity: IdentityState | null): LoadProbe {
  return (cluster, host, periodMs, report, ended) => {
    let over = false
    let session: ClientHttp2Session | null = null
    let silence: NodeJS.Timeout | undefined
    const end = (how: 'failed' | 'unsupported') => {
      if (over) return
      over = true
      clearInterval(silence)
      session?.destroy()
      ended(how)
    }
    const stream = (socket: Socket) => {
      session = connect('http://localhost', { createConnection: () => socket })
      session.on('error', () => end('failed'))
      session.on('close', () => end('failed'))
      session.unref()
      silence = watchSilence(session, periodMs * SILENT_PERIODS, () => end('failed'))
      const asked = session.request({
        ':method': 'POST',
        ':authority': authorityOf(cluster, host),
        ':path': '/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics',
        'content-type': 'application/grpc',
        te: 'trailers',
        'user-agent': 'inmesh/load-reports',
      })
      let status: unknown
      const learn = (headers: Record<string, unknown>) => {
        status ??= headers['grpc-status']
        // Not gRPC at all: a server that will not learn it soon.
        if (headers[':status'] !== undefined && headers[':status'] !== 200) status ??= UNIMPLEMENTED
      }
      const frames = new Frames((message) => {
        const decoded = decodeReport(message)
        if (decoded !== null && !over) report(decoded)
      })
      asked.on('response', learn)
      asked.on('trailers', learn)
      asked.on('data', (chunk: Buffer) => {
        if (!frames.push(chunk)) end('failed')
      })
      asked.on('error', () => end('failed'))
      asked.on('close', () => end(String(status) === UNIMPLEMENTED ? 'unsupported' : 'failed'))
      asked.end(reportRequest(periodMs))
    }
    const timeoutMs = cluster.spec.connectTimeoutMs
    const giveUp = dialHost(identity, cluster, host, { timeoutMs, protocols: ['h2'] }, (error, socket) => {
      if (over) socket?.destroy()
      else if (error !== null) end('failed')
      else stream(socket!)
    })
    if (giveUp === null) return null
    return () => {
      if (over) return
      over = true
      clearInterval(silence)
      giveUp()
      session?.destroy()
    }
  }
}

/** Calls back when a ping is not answered either. */
function watchSilence(session: ClientHttp2Session, afterMs: number, dead: () => void): NodeJS.Timeout {
  let pinging = false
  return setInterval(() => {
    if (pinging) dead()
    else if (!session.destroyed) {
      pinging = true
      session.ping((error) => {
        if (error === null) pinging = false
      })
    }
  }, afterMs).unref()
}

/** Puts frames of gRPC together. */
class Frames {
  private readonly take: (message: Buffer) => void
  private rest: Buffer = Buffer.alloc(0)

  constructor(take: (message: Buffer) => void) {
    this.take = take
  }

  /** @returns false = this is not what was asked for: compressed, or too long */
  push(chunk: Buffer): boolean {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk])
    while (this.rest.length >= 5) {
      const length = this.rest.readUInt32BE(1)
      if (this.rest[0] !== 0 || length > MAX_REPORT) return false
      if (this.rest.length < 5 + length) return true
      this.take(this.rest.subarray(5, 5 + length))
      this.rest = this.rest.subarray(5 + length)
    }
    return true
  }
}

/** A gRPC frame with OrcaLoadReportRequest { report_interval = 1 }, a google.protobuf.Duration. */
export function reportRequest(periodMs: number): Buffer {
  const seconds = Math.floor(periodMs / 1_000)
  const nanos = Math.round((periodMs % 1_000) * 1e6)
  const duration = Buffer.concat([field(1, seconds), field(2, nanos)])
  const message = Buffer.concat([Buffer.of(0x0a, duration.length), duration])
  const head = Buffer.alloc(5)
  head.writeUInt32BE(message.length, 1)
  return Buffer.concat([head, message])
}

/** A varint field; 0 is left out. */
function field(number: number, value: number): Buffer {
  if (value === 0) return Buffer.alloc(0)
  const bytes = [number * 8]
  let left = value
  for (; left > 127; left = Math.floor(left / 128)) bytes.push((left & 127) | 128)
  bytes.push(left)
  return Buffer.from(bytes)
}
