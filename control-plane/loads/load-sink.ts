import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { type ServerDuplexStream, type ServiceDefinition, status } from '@grpc/grpc-js'
import {
  type LoadStatsRequest,
  LoadStatsRequestSchema,
  type LoadStatsResponse,
  LoadStatsResponseSchema,
} from '../../src/gen/envoy/service/load_stats/v3/lrs_pb.js'
import type { Clock } from '../../src/model/clock.ts'
import { type Caller, callerKey, type Quota } from '../discovery/caller.ts'
import type { LoadTable } from './load-table.ts'

/** envoy.service.load_stats.v3.LoadReportingService. */
export const loadReportingService: ServiceDefinition = {
  StreamLoadStats: {
    path: '/envoy.service.load_stats.v3.LoadReportingService/StreamLoadStats',
    requestStream: true,
    responseStream: true,
    requestSerialize: (m: LoadStatsRequest) => Buffer.from(toBinary(LoadStatsRequestSchema, m)),
    requestDeserialize: (b: Buffer) => fromBinary(LoadStatsRequestSchema, b),
    responseSerialize: (m: LoadStatsResponse) => Buffer.from(toBinary(LoadStatsResponseSchema, m)),
    responseDeserialize: (b: Buffer) => fromBinary(LoadStatsResponseSchema, b),
  },
}

export type LoadCall = ServerDuplexStream<LoadStatsRequest, LoadStatsResponse>

export interface LoadSinkOptions {
  readonly table: LoadTable
  readonly clock: Clock
  readonly quota: Quota
  /** How often clients are asked to report, ms. */
  readonly intervalMs: number
}

/** Takes load reports of whatever client sends them (gRFC A27): all clusters, every interval. */
export class LoadSink {
  readonly #options: LoadSinkOptions
  readonly #calls = new Set<LoadCall>()

  constructor(options: LoadSinkOptions) {
    this.#options = options
  }

  /** Handler of StreamLoadStats. */
  serve(call: LoadCall, caller: Caller): void {
    const { table, clock, quota, intervalMs } = this.#options
    const fail = (code: status, details: string) => call.emit('error', { code, details })
    if (caller.kind === 'anonymous') {
      fail(status.UNAUTHENTICATED, 'load reports need a client certificate')
      return
    }
    const giveBack = quota.take(callerKey(caller))
    if (giveBack === undefined) {
      fail(status.RESOURCE_EXHAUSTED, `too many streams of ${callerKey(caller)}`)
      return
    }
    let forget: (() => void) | null = null
    const finish = () => {
      giveBack()
      this.#calls.delete(call)
      forget?.()
    }
    this.#calls.add(call)
    call.on('error', finish)
    call.on('cancelled', finish)
    call.on('close', finish)
    call.on('end', () => {
      finish()
      call.end()
    })
    call.on('data', ({ node, clusterStats }: LoadStatsRequest) => {
      if (forget === null) {
        if (node === undefined) {
          fail(status.INVALID_ARGUMENT, 'the first request of a stream must say which node sends it')
          return
        }
        const spiffeId = caller.kind === 'mesh' ? caller.identity.peer.spiffeId : ''
        forget = table.open(call, { nodeId: node.id.slice(0, 1_024), spiffeId })
        const loadReportingInterval = durationFromMs(intervalMs)
        call.write(create(LoadStatsResponseSchema, { sendAllClusters: true, loadReportingInterval }))
      }
      table.add(call, clusterStats, clock.now())
    })
  }

  /** Ends all streams; clients come back by their own back-off. */
  close(): void {
    for (const call of this.#calls)
      call.emit('error', { code: status.UNAVAILABLE, details: 'the control plane is shutting down' })
  }
}
