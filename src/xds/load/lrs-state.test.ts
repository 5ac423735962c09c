import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { beforeEach, describe, expect, it } from 'vitest'
import { LoadStatsRequestSchema, LoadStatsResponseSchema } from '../../gen/envoy/service/load_stats/v3/lrs_pb.js'
import type { ClusterLoad } from '../../model/load-stats.ts'
import { type LrsAction, LrsState } from './lrs-state.ts'

const load: ClusterLoad = {
  cluster: 'c',
  serviceName: 'eds',
  dropped: 2,
  localities: [
    {
      ...{ locality: 'r/z/s', priority: 1, issued: 5, succeeded: 3, failed: 1, inProgress: 4 },
      metrics: new Map([
        ['cpu_utilization', { count: 2, total: 1.5 }],
        ['named_metrics.queue', { count: 1, total: 7 }],
        ['utilization.disk', { count: 1, total: 0.5 }],
      ]),
    },
  ],
}

const order = (init: { clusters?: string[]; sendAllClusters?: boolean; seconds?: bigint; nanos?: number }) =>
  toBinary(
    LoadStatsResponseSchema,
    create(LoadStatsResponseSchema, {
      clusters: init.clusters ?? [],
      sendAllClusters: init.sendAllClusters ?? false,
      loadReportingInterval: { seconds: init.seconds ?? 10n, nanos: init.nanos ?? 0 },
    }),
  )
const requests = (actions: readonly LrsAction[]) =>
  actions.flatMap((action) => (action.kind === 'send' ? [fromBinary(LoadStatsRequestSchema, action.bytes)] : []))

describe('the stream of load reports', () => {
  let state: LrsState
  beforeEach(() => {
    state = new LrsState({ id: 'me', clientFeatures: ['x'] }, { u32: () => 2 ** 31 })
  })
  const open = (now = 0) => state.step({ kind: 'wanted', wanted: true }, now)
  const ordered = (now: number, init: Parameters<typeof order>[0] = { sendAllClusters: true }) =>
    state.step({ kind: 'response', bytes: order(init) }, now)
  const kinds = (actions: readonly LrsAction[]) => actions.map((action) => action.kind)

  it('opens when somebody wants it, says who we are, and waits for orders', () => {
    expect(state.deadline).toBe(Number.POSITIVE_INFINITY)
    const actions = open()
    expect(kinds(actions)).toEqual(['connect', 'send'])
    expect(requests(actions)).toMatchObject([
      { node: { id: 'me', clientFeatures: ['x', 'envoy.lrs.supports_send_all_clusters'] }, clusterStats: [] },
    ])
    expect(state.deadline).toBe(Number.POSITIVE_INFINITY)
    expect(open(5)).toEqual([])
    expect(kinds(state.step({ kind: 'wanted', wanted: false }, 6))).toEqual(['disconnect'])
    expect(state.step({ kind: 'wanted', wanted: false }, 7)).toEqual([])
  })

  it('reports each interval what was counted since the last report, with the time that it took', () => {
    open(1_000)
    expect(ordered(2_000)).toEqual([])
    expect(state.deadline).toBe(12_000)
    expect(state.step({ kind: 'tick' }, 11_999)).toEqual([])
    expect(state.step({ kind: 'tick' }, 12_500)).toEqual([{ kind: 'take', clusters: null }])
    const [request] = requests(state.step({ kind: 'taken', loads: [load] }, 12_500))
    expect(request?.node).toBeUndefined()
    expect(request?.clusterStats).toMatchObject([
      {
        ...{ clusterName: 'c', clusterServiceName: 'eds', totalDroppedRequests: 2n },
        loadReportInterval: { seconds: 11n, nanos: 500_000_000 },
        upstreamLocalityStats: [
          {
            ...{ locality: { region: 'r', zone: 'z', subZone: 's' }, priority: 1, totalIssuedRequests: 5n },
            ...{ totalSuccessfulRequests: 3n, totalErrorRequests: 1n, totalRequestsInProgress: 4n },
            cpuUtilization: { numRequestsFinishedWithMetric: 2n, totalMetricValue: 1.5 },
            loadMetricStats: [
              { metricName: 'queue', numRequestsFinishedWithMetric: 1n, totalMetricValue: 7 },
              { metricName: 'utilization.disk' },
            ],
          },
        ],
      },
    ])
    expect(request?.clusterStats[0]?.upstreamLocalityStats[0]?.memUtilization).toBeUndefined()
    expect(state.deadline).toBe(22_500)
    state.step({ kind: 'tick' }, 22_500)
    const [next] = requests(state.step({ kind: 'taken', loads: [load] }, 22_500))
    expect(next?.clusterStats[0]?.loadReportInterval).toMatchObject({ seconds: 10n, nanos: 0 })
  })

  it('asks for the clusters that the server names, and follows new orders', () => {
    open()
    ordered(0, { clusters: ['a', 'b'], seconds: 5n })
    expect(state.step({ kind: 'tick' }, 5_000)).toEqual([{ kind: 'take', clusters: new Set(['a', 'b']) }])
    ordered(6_000, { clusters: ['c'], seconds: 2n })
    expect(state.deadline).toBe(8_000)
    expect(state.step({ kind: 'tick' }, 8_000)).toEqual([{ kind: 'take', clusters: new Set(['c']) }])
  })

  it('never reports more often than once a second', () => {
    open()
    ordered(0, { sendAllClusters: true, seconds: 0n, nanos: 1_000_000 })
    expect(state.deadline).toBe(1_000)
  })

  it('is silent while there is nothing to say, after it said so once', () => {
    open()
    ordered(0)
    const report = (now: number, loads: readonly ClusterLoad[]) => {
      expect(kinds(state.step({ kind: 'tick' }, now))).toEqual(['take'])
      return requests(state.step({ kind: 'taken', loads }, now)).length
    }
    expect([report(10_000, []), report(20_000, [load]), report(30_000, []), report(40_000, [])]).toEqual([0, 1, 1, 0])
  })

  it('comes back with back-off; what was counted meanwhile is in the first report', () => {
    open()
    const waits: number[] = []
    let now = 0
    for (let i = 0; i < 3; i++) {
      const [lost] = state.step({ kind: 'ended', end: { code: 14, details: 'gone' } }, now)
      expect(lost).toMatchObject({ kind: 'lost', reason: 'gone' })
      waits.push(state.deadline - now)
      now = state.deadline
      expect(kinds(state.step({ kind: 'tick' }, now))).toEqual(['connect', 'send'])
    }
    expect(waits[1]).toBeGreaterThan(waits[0]!)
    expect(waits[2]).toBeGreaterThan(waits[1]!)
    ordered(now)
    state.step({ kind: 'tick' }, now + 10_000)
    const [request] = requests(state.step({ kind: 'taken', loads: [load] }, now + 10_000))
    const { seconds = 0n, nanos = 0 } = request?.clusterStats[0]?.loadReportInterval ?? {}
    expect(Number(seconds) * 1_000 + nanos / 1e6).toBeCloseTo(now + 10_000, -1)
  })

  it('does not ask again a server that takes no reports, until something changes', () => {
    open()
    expect(state.step({ kind: 'ended', end: { code: 12, details: '' } }, 0)).toMatchObject([{ kind: 'lost' }])
    expect(state.deadline).toBe(Number.POSITIVE_INFINITY)
    expect(kinds(state.step({ kind: 'reconnect' }, 1))).toEqual(['disconnect', 'connect', 'send'])
  })

  it('a response that cannot be read ends the stream', () => {
    open()
    const actions = state.step({ kind: 'response', bytes: Uint8Array.of(0xff) }, 0)
    expect(kinds(actions)).toEqual(['disconnect', 'lost'])
    expect(state.step({ kind: 'response', bytes: order({}) }, 1)).toEqual([])
  })

  it('reconnects only while there is a stream', () => {
    expect(state.step({ kind: 'reconnect' }, 0)).toEqual([])
  })
})
