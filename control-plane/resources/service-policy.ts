import * as z from 'zod'
import { destinationHost } from './fields.ts'
import type { Kind } from './kind.ts'

const seconds = z.number().positive().max(86_400)

const schema = z.strictObject({
  service: destinationHost.refine((name) => name.length <= 128, 'may have at most 128 characters'),
  /** Retries, so at most 1 + this many tries; 0 = none. */
  retryAttempts: z.int().min(0).max(100).optional(),
  /** Until the response headers; 0 = none. */
  timeoutMs: z.int().min(0).max(86_400_000).optional(),
  /** Error rate in percent above which the circuit opens; 100 = never. */
  cbThreshold: z.number().min(1).max(100).optional(),
  cbWindowSec: seconds.optional(),
  /** First open time; doubles with each failed probe. */
  cbRecoverySec: seconds.optional(),
})

export type ServicePolicySpec = z.output<typeof schema>

/** The defaults of the mission's columns. */
export const servicePolicyDefaults = {
  retryAttempts: 3,
  timeoutMs: 5_000,
  cbThreshold: 50,
  cbWindowSec: 30,
  cbRecoverySec: 5,
} as const

const or = (value: number | undefined, fallback: number) => String(value ?? fallback)

export const servicePolicy: Kind<'ServicePolicy', typeof schema> = {
  kind: 'ServicePolicy',
  names: ['servicepolicy', 'servicepolicies', 'sp'],
  apiVersions: ['inmesh.dev/v1'],
  schema,
  unsupported: [],
  aliases: {
    service_name: 'service',
    serviceName: 'service',
    retry_attempts: 'retryAttempts',
    timeout_ms: 'timeoutMs',
    cb_threshold: 'cbThreshold',
    cb_window_sec: 'cbWindowSec',
    cb_recovery_sec: 'cbRecoverySec',
  },
  defaultName: (spec) => spec.service,
  docs: 'Retries, timeout and error-rate circuit breaker of one service, in a few numbers. Istio resources that speak about the same field win.',
  columns: [
    { title: 'SERVICE', value: (spec) => spec.service },
    { title: 'RETRIES', value: (spec) => or(spec.retryAttempts, servicePolicyDefaults.retryAttempts) },
    { title: 'TIMEOUT MS', value: (spec) => or(spec.timeoutMs, servicePolicyDefaults.timeoutMs) },
    { title: 'CB %', value: (spec) => or(spec.cbThreshold, servicePolicyDefaults.cbThreshold) },
    { title: 'CB WINDOW S', value: (spec) => or(spec.cbWindowSec, servicePolicyDefaults.cbWindowSec) },
  ],
}
