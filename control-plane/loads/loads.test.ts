import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { Client, credentials, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { ClusterStatsSchema } from '../../src/gen/envoy/config/endpoint/v3/load_report_pb.js'
import {
  type LoadStatsRequest,
  LoadStatsRequestSchema,
  type LoadStatsResponse,
} from '../../src/gen/envoy/service/load_stats/v3/lrs_pb.js'
import { formatLoads } from '../cli/loads.ts'
import type { ControlPlane } from '../start.ts'
import { Harness } from '../testing/harness.ts'
import { loadReportingService } from './load-sink.ts'
import { LoadTable } from './load-table.ts'

const stats = (init: MessageInitShape<typeof ClusterStatsSchema>) => create(ClusterStatsSchema, init)
const counted = stats({
  clusterName: 'outbound|80||payments.default.svc.cluster.local',
  totalDroppedRequests: 3n,
  loadReportInterval: { seconds: 2n },
  upstreamLocalityStats: [
    {
      locality: { region: 'r', zone: 'z' },
      ...{ totalIssuedRequests: 10n, totalSuccessfulRequests: 7n, totalErrorRequests: 1n, totalRequestsInProgress: 2n },
      cpuUtilization: { numRequestsFinishedWithMetric: 4n, totalMetricValue: 2 },
      loadMetricStats: [{ metricName: 'queue', numRequestsFinishedWithMetric: 2n, totalMetricValue: 9 }],
    },
    { locality: { region: 'r', zone: 'y', subZone: 's' }, priority: 1, totalIssuedRequests: 4n },
  ],
})

describe('the table of load reports', () => {
  it('keeps the latest of each client and cluster, while the client is connected', () => {
    const table = new LoadTable()
    const [one, two] = [{}, {}]
    const forget = table.open(one, { nodeId: 'n1', spiffeId: 's1' })
    table.open(two, { nodeId: 'n2', spiffeId: '' })
    table.add(one, [counted, stats({ clusterName: 'other' })], 1_000)
    table.add(one, [counted], 2_000)
    table.add(two, [counted], 2_500)
    expect(table.list(3_000, 'payments')).toMatchObject([
      {
        ...{ nodeId: 'n1', spiffeId: 's1', locality: 'r/z', priority: 0, issued: 10, succeeded: 7, failed: 1 },
        ...{ inProgress: 2, dropped: 3, intervalMs: 2_000, ageMs: 1_000, metrics: { cpu: 0.5, queue: 4.5 } },
      },
      { locality: 'r/y/s', priority: 1, issued: 4, dropped: 0 },
      { nodeId: 'n2', ageMs: 500 },
      { nodeId: 'n2' },
    ])
    expect(table.list(3_000)).toHaveLength(5)
    forget()
    table.add(one, [counted], 3_000)
    expect(table.list(3_000).map((row) => row.nodeId)).toEqual(['n2', 'n2'])
  })

  it('is bounded, whatever clients send', () => {
    const table = new LoadTable()
    const stream = {}
    table.open(stream, { nodeId: 'n', spiffeId: '' })
    const many = Array.from({ length: 6_000 }, (_, i) => stats({ clusterName: `c${i}` }))
    table.add(stream, many, 0)
    expect(table.list(0)).toHaveLength(5_000)
    const loadMetricStats = Array.from({ length: 200 }, (_, i) => ({
      ...{ metricName: `m${i}`, numRequestsFinishedWithMetric: 1n, totalMetricValue: 1 },
    }))
    const wide = Array.from({ length: 300 }, () => ({ loadMetricStats }))
    const proto = { metricName: '__proto__', numRequestsFinishedWithMetric: 1n, totalMetricValue: 5 }
    wide[0]!.loadMetricStats.unshift(proto)
    table.add(stream, [stats({ clusterName: 'c1', upstreamLocalityStats: wide })], 0)
    const rows = table.list(0).filter((row) => row.cluster === 'c1')
    expect(rows).toHaveLength(100)
    expect(Object.entries(rows[0]!.metrics)).toHaveLength(50)
    expect(Object.entries(rows[0]!.metrics)[0]).toEqual(['__proto__', 5])
  })

  it('is shown as one line per client, cluster and locality', () => {
    expect(formatLoads([])).toBe('no client has reported\n')
    const table = new LoadTable()
    const stream = {}
    table.open(stream, { nodeId: 'n1', spiffeId: '' })
    table.add(stream, [counted], 0)
    const [head, first, second] = formatLoads(table.list(7_000)).split('\n')
    expect(head).toMatch(/^CLIENT +CLUSTER +LOCALITY +CALLS/)
    expect(first?.split(/ {3,}/)).toEqual([
      ...['n1', counted.clusterName, 'r/z', '10', '1', '2', '3', '5.0', '7 s', 'cpu=0.5 queue=4.5'],
    ])
    expect(second).toContain('r/y/s (1)')
  })
})

describe('LoadReportingService', () => {
  const harness = new Harness()
  afterEach(() => harness.cleanUp())

  function open(client: Client) {
    const { path, requestSerialize, responseDeserialize } = loadReportingService.StreamLoadStats!
    const call = client.makeBidiStreamRequest<LoadStatsRequest, LoadStatsResponse>(
      path,
      requestSerialize,
      responseDeserialize as (bytes: Buffer) => LoadStatsResponse,
    )
    harness.after(() => {
      call.cancel()
      client.close()
    })
    const ended = new Promise<number>((resolve) => call.on('error', (e: { code: number }) => resolve(e.code)))
    const answer = new Promise<LoadStatsResponse>((resolve) => call.once('data', resolve))
    const send = (init: MessageInitShape<typeof LoadStatsRequestSchema>) =>
      call.write(create(LoadStatsRequestSchema, init))
    return { call, ended, answer, send }
  }

  async function loads(controlPlane: ControlPlane, query = '') {
    const response = await fetch(`${controlPlane.adminUrl}/v1/loads${query}`, {
      headers: { authorization: `Bearer ${controlPlane.adminToken}` },
    })
    return ((await response.json()) as { items: object[] }).items
  }

  it('takes the reports of a workload, who is known by its certificate, and shows them until it leaves', async () => {
    const controlPlane = await harness.start({ loadReportIntervalMs: 2_000 })
    const channel = await harness.channel(controlPlane, 'orders')
    const stream = open(new Client(channel.address, channel.credentials(), channel.options))
    stream.send({ node: { id: 'orders-1' } })
    expect(await stream.answer).toMatchObject({
      sendAllClusters: true,
      loadReportingInterval: { seconds: 2n, nanos: 0 },
    })
    stream.send({ clusterStats: [counted] })
    await expect.poll(() => loads(controlPlane, '?cluster=payments')).toHaveLength(2)
    const [row] = await loads(controlPlane)
    const spiffeId = 'spiffe://cluster.local/ns/default/sa/orders'
    expect(row).toMatchObject({ nodeId: 'orders-1', spiffeId, issued: 10, metrics: { queue: 4.5 } })
    expect(await loads(controlPlane, '?cluster=nobody')).toEqual([])
    stream.call.end()
    await expect.poll(() => loads(controlPlane)).toEqual([])
  })

  it('takes them on the plaintext development port, too', async () => {
    const controlPlane = await harness.start({ insecureXds: '127.0.0.1:0' })
    const stream = open(new Client(`127.0.0.1:${controlPlane.ports.insecureXds}`, credentials.createInsecure()))
    stream.send({ node: { id: 'dev' }, clusterStats: [counted] })
    expect((await stream.answer).loadReportingInterval).toMatchObject({ seconds: 10n })
    await expect.poll(() => loads(controlPlane)).toHaveLength(2)
  })

  it('refuses who has no certificate, who does not say who it is, and who has too many streams', async () => {
    const controlPlane = await harness.start({ maxStreamsPerIdentity: 1 })
    const anonymous = await harness.channel(controlPlane)
    const clientOf = (channel: typeof anonymous) => new Client(channel.address, channel.credentials(), channel.options)
    const nobody = open(clientOf(anonymous))
    nobody.send({ node: { id: 'x' } })
    expect(await nobody.ended).toBe(status.UNAUTHENTICATED)
    const known = await harness.channel(controlPlane, 'orders')
    const nameless = open(clientOf(known))
    nameless.send({ clusterStats: [counted] })
    expect(await nameless.ended).toBe(status.INVALID_ARGUMENT)
    const first = open(clientOf(known))
    first.send({ node: { id: 'a' } })
    await first.answer
    const second = open(clientOf(known))
    second.send({ node: { id: 'b' } })
    expect(await second.ended).toBe(status.RESOURCE_EXHAUSTED)
    await expect(harness.start({ loadReportIntervalMs: 10 })).rejects.toThrow(/loadReportIntervalMs/)
  })
})
