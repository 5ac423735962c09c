import prom from 'prom-client'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Peer } from '../model/peer.ts'
import type { WorkloadInfo } from '../model/workload.ts'
import { createExposition, registerFamilies } from './exposition.ts'
import { type Destination, Metrics } from './metrics.ts'

const workload: WorkloadInfo = {
  service: 'orders',
  namespace: 'shop',
  serviceAccount: 'orders-sa',
  trustDomain: 'cluster.local',
  labels: { app: 'orders', version: 'v3' },
  locality: '',
  instanceId: 'orders-1',
}
const payments: Destination = {
  service: 'payments.shop.svc.cluster.local',
  serviceName: 'payments',
  namespace: 'shop',
  principal: 'spiffe://cluster.local/ns/shop/sa/payments',
  app: 'payments',
  version: 'v1',
}
const peer: Peer = {
  spiffeId: 'spiffe://cluster.local/ns/shop/sa/frontend',
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount: 'frontend',
  serialNumber: '01',
  notAfter: 0,
  tlsVersion: 'TLSv1.3',
}

let metrics: Metrics
beforeEach(() => {
  metrics = new Metrics(workload, {
    clusters: () => [
      { name: 'a', endpoints: 3, ejected: 1, breaker: 'open' },
      { name: 'b', endpoints: 0, ejected: 0, breaker: null },
    ],
    configAgeSeconds: () => 12.5,
    certificateExpirySeconds: () => 3_600,
    xdsNacks: () => 2,
  })
})
afterEach(() => metrics.close())

const lines = async (part: string) =>
  (await createExposition(metrics.families)()).body
    .split('\n')
    .filter((line) => line.includes(part) && !line.startsWith('#'))

describe('metrics', () => {
  it('count calls of gRPC by its status, apart from those of HTTP', async () => {
    metrics.outbound(payments).record(200, '', 1)
    metrics.outbound(payments, 'grpc').record(0, '', 1)
    metrics.outbound(payments, 'grpc').record(14, 'UO', 1)
    metrics.inbound(peer, 'grpc').record(7, '', 1)
    expect(metrics.inbound(null, 'grpc')).not.toBe(metrics.inbound(null))
    const found = (await lines('istio_requests_total')).map((line) =>
      ['request_protocol', 'response_code', 'grpc_response_status', 'response_flags'].map(
        (label) => new RegExp(`${label}="(.*?)"`).exec(line)?.[1],
      ),
    )
    expect(found).toEqual([
      ['http', '200', undefined, '-'],
      ['grpc', '200', '0', '-'],
      ['grpc', '200', '14', 'UO'],
      ['grpc', '200', '7', '-'],
    ])
    expect(await lines('istio_request_duration_milliseconds_count')).toContainEqual(
      expect.stringMatching(/grpc_response_status="14"/),
    )
  })

  it('count a call with the labels that Istio gives it', async () => {
    const series = metrics.outbound(payments)
    series.record(200, '', 3)
    series.record(200, '', 4)
    series.record(503, 'UO', 0.1)
    expect(await lines('istio_requests_total')).toEqual([
      expect.stringMatching(/^istio_requests_total\{.*response_code="200",response_flags="-".*\} 2$/),
      expect.stringMatching(/^istio_requests_total\{.*response_code="503",response_flags="UO".*\} 1$/),
    ])
    const [line] = await lines('istio_requests_total')
    for (const label of [
      'reporter="source"',
      'source_workload="orders"',
      'source_principal="spiffe://cluster.local/ns/shop/sa/orders-sa"',
      'destination_service="payments.shop.svc.cluster.local"',
      'destination_service_name="payments"',
      'destination_service_namespace="shop"',
      'destination_version="v1"',
      'connection_security_policy="unknown"',
    ])
      expect(line).toContain(label)
  })

  it('count a request with the identity that was verified, or as plaintext with none', async () => {
    metrics.inbound(peer).record(403, '', 1)
    metrics.inbound(null).record(200, '', 1)
    metrics.plaintextFrom('10.0.0.9')
    const [denied, plain] = await lines('istio_requests_total')
    expect(denied).toContain('source_principal="spiffe://cluster.local/ns/shop/sa/frontend"')
    expect(denied).toContain('connection_security_policy="mutual_tls"')
    expect(denied).toContain('reporter="destination"')
    expect(plain).toContain('source_principal="unknown"')
    expect(plain).toContain('connection_security_policy="none"')
    expect(await lines('plaintext')).toEqual(['inmesh_plaintext_requests_total{source_address="10.0.0.9"} 1'])
  })

  it('fill a histogram whose buckets are cumulative and whose count is +Inf', async () => {
    const series = metrics.outbound(payments)
    for (const ms of [0.5, 0.6, 7, 99_999_999]) series.record(200, '', ms)
    const rows = await lines('istio_request_duration_milliseconds')
    const bucket = (le: string) =>
      rows
        .find((row) => row.includes(`le="${le}"`))
        ?.split(' ')
        .at(-1)
    expect([bucket('0.5'), bucket('1'), bucket('5'), bucket('10'), bucket('3600000'), bucket('+Inf')]).toEqual([
      '1',
      '2',
      '2',
      '3',
      '3',
      '4',
    ])
    expect(rows.find((row) => row.startsWith('istio_request_duration_milliseconds_sum'))).toMatch(/ 100000007\.1$/)
    expect(rows.find((row) => row.startsWith('istio_request_duration_milliseconds_count'))).toMatch(/ 4$/)
  })

  it('hosts that come and go with the same labels add to one series', () => {
    expect(metrics.outbound({ ...payments })).toBe(metrics.outbound({ ...payments }))
    expect(metrics.outbound({ ...payments, version: 'v2' })).not.toBe(metrics.outbound(payments))
    expect(metrics.inbound({ ...peer, serialNumber: '02' })).toBe(metrics.inbound(peer))
  })

  it('show the state of clusters, configuration and certificate', async () => {
    const { body } = await createExposition(metrics.families)()
    for (const line of [
      'inmesh_endpoints{cluster="a"} 3',
      'inmesh_endpoints{cluster="b"} 0',
      'inmesh_outlier_ejections_active{cluster="a"} 1',
      'inmesh_breaker_state{cluster="a"} 2',
      'inmesh_config_age_seconds 12.5',
      'inmesh_certificate_expiry_seconds 3600',
      'inmesh_xds_nacks_total 2',
    ])
      expect(body.split('\n')).toContain(line)
    expect(body).not.toContain('inmesh_breaker_state{cluster="b"}')
  })

  it('name a bounded number of plaintext callers', async () => {
    for (let i = 0; i < 1_000; i++) metrics.plaintextFrom(`10.0.${i >> 8}.${i & 255}`)
    const rows = await lines('inmesh_plaintext_requests_total{')
    expect(rows).toHaveLength(101)
    expect(rows.at(-1)).toBe('inmesh_plaintext_requests_total{source_address="other"} 900')
  })

  it('are one text with those of the app, and fit into a registry of the app', async () => {
    const own = new prom.Counter({ name: 'app_orders_total', help: 'orders' })
    own.inc(7)
    try {
      expect((await createExposition(metrics.families)()).body).toContain('app_orders_total 7')
    } finally {
      prom.register.removeSingleMetric('app_orders_total')
    }
    metrics.retriesTo('payments').count = 5
    const open = new prom.Registry<prom.OpenMetricsContentType>()
    open.setContentType(prom.openMetricsContentType)
    for (const registry of [new prom.Registry(), open as unknown as prom.Registry]) {
      registerFamilies(metrics.families, registry)
      expect(await registry.metrics()).toContain('inmesh_retries_total{destination_service="payments"} 5')
    }
  })

  it('report event-loop lag from the second scrape on', async () => {
    expect(await lines('inmesh_eventloop_lag_seconds{')).toEqual([])
    expect(await lines('inmesh_eventloop_lag_seconds{')).toHaveLength(4)
  })

  it('a request that was seen before allocates nothing', () => {
    const series = metrics.outbound(payments)
    const inbound = metrics.inbound(peer)
    const burn = (n: number) => {
      for (let i = 0; i < n; i++) {
        series.record(200, '', i % 4000)
        metrics.inbound(peer).record(i % 2 === 0 ? 200 : 404, '', 1.5)
      }
    }
    burn(50_000)
    const before = process.memoryUsage().heapUsed
    burn(100_000)
    // A scavenge in between would make it smaller, an object per request would make it 3 MB larger.
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(1_000_000)
    expect([...inbound].map((s) => s.count)).toEqual([75_000, 75_000])
  })
})
