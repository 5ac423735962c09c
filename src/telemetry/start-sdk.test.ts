import { afterEach, describe, expect, it } from 'vitest'
import type { Logger } from '../model/logger.ts'
import { activeTracer } from './otel.ts'
import { type RunningSdk, startSdk } from './start-sdk.ts'

const workload = {
  service: 'orders',
  namespace: 'shop',
  serviceAccount: 'orders',
  trustDomain: 'cluster.local',
  labels: { app: 'orders', version: 'v2' },
  locality: '',
  instanceId: 'orders-1',
}
const warnings: string[] = []
const logger: Logger = { debug() {}, info() {}, warn: (message) => void warnings.push(message), error() {} }
const never = () => Promise.reject(new Error('not to be loaded'))
let sdk: RunningSdk | null = null
afterEach(async () => {
  warnings.splice(0)
  await sdk?.shutdown()
})

describe('startSdk', () => {
  it.each([
    ['nothing asks for traces', {}],
    ['an empty variable', { OTEL_TRACES_EXPORTER: '', OTEL_EXPORTER_OTLP_ENDPOINT: '' }],
    ['traces are switched off', { OTEL_TRACES_EXPORTER: 'none', OTEL_EXPORTER_OTLP_ENDPOINT: 'http://x:4318' }],
    ['the SDK is switched off', { OTEL_SDK_DISABLED: 'true', OTEL_TRACES_EXPORTER: 'otlp' }],
  ])('loads nothing when %s', async (_what, env) => {
    expect(await startSdk({ workload, logger, env, load: never })).toBeNull()
    expect(warnings).toEqual([])
  })

  it('says in one line which package is missing, and goes on', async () => {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:4318' }
    expect(await startSdk({ workload, logger, env, load: never })).toBeNull()
    expect(warnings).toEqual([
      'traces are configured (OTEL_*), but @opentelemetry/sdk-node is not installed: npm i @opentelemetry/sdk-node',
    ])
  })

  it('registers a provider once, and leaves the one that is there alone', async () => {
    process.env.OTEL_TRACES_EXPORTER = 'console'
    expect(activeTracer()).toBeNull()
    sdk = await startSdk({ workload, logger })
    delete process.env.OTEL_TRACES_EXPORTER
    expect(sdk).not.toBeNull()
    expect(activeTracer()).not.toBeNull()
    expect(await startSdk({ workload, logger, env: { OTEL_TRACES_EXPORTER: 'otlp' }, load: never })).toBeNull()
  })
})
