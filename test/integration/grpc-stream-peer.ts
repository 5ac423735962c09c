// One process of test/integration/grpc-streams.test.ts: serves test.Raw, and calls it on a service that it is told.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Metadata } from '@grpc/grpc-js'
import { createMesh } from '../../src/index.ts'
import { echo, RawClient, type RawHandlers, rawService } from '../support/grpc-client.ts'

/** What it is told by its parent; each order is answered with a {@link Report}. */
export type Order =
  /** Nothing but the report; the peak counts anew from here. */
  | { readonly do: 'look' }
  /** So many messages of 1 MiB from `service`, read slowly. */
  | { readonly do: 'download'; readonly service: string; readonly messages: number }
  /** So many messages of 1 MiB to `service`, which reads slowly. */
  | { readonly do: 'upload'; readonly service: string; readonly messages: number }
  /** Close the mesh; answered when it is closed. */
  | { readonly do: 'leave' }

export interface Report {
  /** Of what was transferred. */
  readonly bytes: number
  /** Resident memory since the last look, at its highest. */
  readonly peakMiB: number
  /** Calls of this server that have not ended. */
  readonly open: number
  /** Of which endpoints of others it has calls under way. */
  readonly active: number
}

const MiB = 1024 * 1024
let peak = 0
let open = 0

function measure(): void {
  peak = Math.max(peak, process.memoryUsage.rss())
}

/** Waits at first, so that a sender without limits would run away, and now and then after. */
async function readSlowly(parts: AsyncIterable<Buffer>): Promise<number> {
  let bytes = 0
  let n = 0
  await sleep(1_000)
  for await (const part of parts) {
    bytes += part.length
    measure()
    if (++n % 32 === 0) await sleep(5)
  }
  return bytes
}

async function writeAll(
  stream: NodeJS.EventEmitter & { write(part: Buffer): boolean; end(): void },
  messages: number,
): Promise<void> {
  const part = Buffer.alloc(MiB, 7)
  for (let i = 0; i < messages; i++) {
    measure()
    if (!stream.write(part)) await once(stream, 'drain')
  }
  stream.end()
}

const handlers: RawHandlers = {
  unary: (call, done) => done(null, call.request),
  collect: (call, done) => {
    void readSlowly(call).then((bytes) => done(null, Buffer.from(String(bytes))))
  },
  expand: (call) => {
    call.on('error', () => undefined)
    writeAll(call, Number(call.request)).catch(() => undefined)
  },
  chat: (call) => {
    open++
    call.once('close', () => open--)
    echo.chat(call)
  },
}

const mesh = await createMesh()
const server = mesh.grpc.server()
server.addService(rawService, { ...handlers })
await mesh.grpc.listen(server, '127.0.0.1:0')
await mesh.ready()

async function upload(service: string, messages: number): Promise<number> {
  const answer = Promise.withResolvers<number>()
  const call = mesh.grpc
    .client(RawClient, service)
    .collect(new Metadata(), {}, (error, bytes) =>
      error === null ? answer.resolve(Number(bytes)) : answer.reject(error),
    )
  await writeAll(call, messages)
  return answer.promise
}

async function follow(order: Order): Promise<number> {
  switch (order.do) {
    case 'look':
      return 0
    case 'download': {
      const stream = mesh.grpc.client(RawClient, order.service).expand(Buffer.from(String(order.messages)))
      return readSlowly(stream as AsyncIterable<Buffer>)
    }
    case 'upload':
      return upload(order.service, order.messages)
    case 'leave':
      await mesh.close({ drainMs: 400, graceMs: 30_000 })
      return 0
  }
}

function active(): number {
  const { clusters } = mesh.status() as { clusters: { hosts: { active: number }[] }[] }
  return clusters.flatMap(({ hosts }) => hosts).reduce((sum, host) => sum + host.active, 0)
}

process.on('message', async (order: Order) => {
  const bytes = await follow(order)
  measure()
  const report: Report = { bytes, peakMiB: Math.round(peak / MiB), open, active: active() }
  peak = 0
  process.send!(report)
})
// Whoever started it is gone.
process.on('disconnect', () => process.exit(0))
process.send!('ready')
