import { createRequire } from 'node:module'
import { describe, expect, it } from 'vitest'
import { Dice } from '../engine/testing/dice.ts'
import { emptyLoadReport, type LoadReport } from '../model/load-report.ts'
import { decodeReport, encodeReport } from './binary.ts'
import { formatReport, parseReport } from './header.ts'

/** Another implementation of the message. */
const { PerRequestMetricRecorder } = createRequire(import.meta.url)(
  '@grpc/grpc-js/build/src/orca.js',
) as typeof import('@grpc/grpc-js/build/src/orca.js')

const full: LoadReport = {
  cpuUtilization: 1.25,
  memUtilization: 0.5,
  applicationUtilization: 0.75,
  qps: 120,
  eps: 3,
  requestCost: new Map([['db', 17]]),
  utilization: new Map([['disk', 0.25]]),
  namedMetrics: new Map([
    ['queue.depth', 4],
    ['negative', -1],
  ]),
}

describe('the binary report', () => {
  it('of grpc-js is read whole', () => {
    const recorder = new PerRequestMetricRecorder()
    recorder.recordCPUUtilizationMetric(1.25)
    recorder.recordMemoryUtilizationMetric(0.5)
    recorder.recordApplicationUtilizationMetric(0.75)
    recorder.recordQpsMetric(120)
    recorder.recordEpsMetric(3)
    recorder.recordRequestCostMetric('db', 17)
    recorder.recordUtilizationMetric('disk', 0.25)
    recorder.recordNamedMetric('queue.depth', 4)
    recorder.recordNamedMetric('negative', -1)
    expect(decodeReport(recorder.serialize())).toEqual(full)
  })

  it('comes back as it went', () => {
    expect(decodeReport(encodeReport(full))).toEqual(full)
    expect(decodeReport(Buffer.alloc(0))).toEqual(emptyLoadReport)
  })

  it('may have fields that nobody knows: of every wire type', () => {
    const unknown = Buffer.from([
      0x18, 0xac, 0x02, 0xf9, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0xfa, 0x01, 1, 7, 0xfd, 0x01, 0, 0, 0, 0,
    ])
    expect(decodeReport(Buffer.concat([unknown, encodeReport(full), unknown]))).toEqual(full)
  })

  it.each<[string, Partial<LoadReport>]>([
    ['negative', { cpuUtilization: -1 }],
    ['not a number', { qps: Number.NaN }],
    ['endless', { applicationUtilization: Number.POSITIVE_INFINITY }],
    ['more memory than there is', { memUtilization: 1.5 }],
    ['a share above 1', { utilization: new Map([['disk', 2]]) }],
    ['an endless metric', { namedMetrics: new Map([['x', Number.POSITIVE_INFINITY]]) }],
  ])('is none when it is %s', (_, over) => {
    expect(decodeReport(encodeReport({ ...full, ...over }))).toBeNull()
  })

  it('cut off or scrambled is none, or another one, but never throws', () => {
    const dice = new Dice(3, 3)
    const whole = encodeReport(full)
    for (let i = 0; i < 5_000; i++) {
      const bytes = Buffer.from(whole.subarray(0, dice.int(0, whole.length)))
      for (let n = dice.int(0, 3); n > 0 && bytes.length > 0; n--)
        bytes[dice.int(0, bytes.length - 1)] = dice.int(0, 255)
      const report = decodeReport(bytes)
      if (report !== null) expect(report.qps).toBeGreaterThanOrEqual(0)
    }
    expect(decodeReport(whole.subarray(0, whole.length - 1))).toBeNull()
  })
})

describe('endpoint-load-metrics', () => {
  const text =
    'TEXT cpu_utilization=1.25,mem_utilization=0.5,rps_fractional=120,eps=3,application_utilization=0.75,request_cost.db=17,utilization.disk=0.25,named_metrics.queue.depth=4,named_metrics.negative=-1'

  it.each([
    ['TEXT', text],
    ['TEXT with spaces', text.replaceAll(',', ' , ')],
    ['BIN', `BIN ${encodeReport(full).toString('base64')}`],
    [
      'JSON in camel case',
      'JSON {"cpuUtilization":1.25,"memUtilization":0.5,"rpsFractional":120,"eps":3,"applicationUtilization":"0.75","requestCost":{"db":17},"utilization":{"disk":0.25},"namedMetrics":{"queue.depth":4,"negative":-1}}',
    ],
    [
      'JSON as in the .proto',
      'JSON {"cpu_utilization":1.25,"mem_utilization":0.5,"rps_fractional":120,"eps":3,"application_utilization":0.75,"request_cost":{"db":17},"utilization":{"disk":0.25},"named_metrics":{"queue.depth":4,"negative":-1},"rps":5}',
    ],
  ])('%s', (_, value) => {
    expect(parseReport(value)).toEqual(full)
  })

  it('is written as TEXT, with what is said', () => {
    expect(formatReport(full)).toBe(text)
    expect(formatReport({ ...emptyLoadReport, qps: 10 / 3 })).toBe('TEXT rps_fractional=3.33333')
  })

  it.each([
    '',
    'TEXT',
    'cpu_utilization=1',
    'YAML cpu_utilization: 1',
    'TEXT cpu_utilization',
    'TEXT cpu_utilization=',
    'TEXT cpu_utilization=a',
    'TEXT cpu_utilization=-1',
    'TEXT cpu_utilization=1,cpu_utilization=2',
    'TEXT unheard_of=1',
    'JSON',
    'JSON []',
    'JSON null',
    'JSON {',
    'JSON {"cpu_utilization":"a"}',
    'JSON {"cpu_utilization":[1]}',
    'JSON {"named_metrics":7}',
    'BIN AAAA',
    `TEXT named_metrics.${'x'.repeat(20_000)}=1`,
  ])('%j is none', (value) => {
    expect(parseReport(value)).toBeNull()
  })
})
