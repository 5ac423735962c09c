import {
  type CircuitBreakers,
  CircuitBreakers_ThresholdsSchema,
  CircuitBreakersSchema,
  type CircuitBreakers_Thresholds as Thresholds,
} from '../../gen/envoy/config/cluster/v3/circuit_breaker_pb.js'
import { RoutingPriority } from '../../gen/envoy/config/core/v3/base_pb.js'
import type { LimitsSpec, RetryBudgetSpec } from '../../model/cluster.ts'
import { type Field, names } from './field.ts'
import { percent } from './percent.ts'

const fields = names(`priority max_connections max_pending_requests max_requests max_retries retry_budget
  track_remaining`)

/**
 * envoy.config.cluster.v3.CircuitBreakers: the first threshold of priority DEFAULT counts. What it does not say is
 * Envoy's default (1024 connections, pending requests and requests, 3 retries); 4294967295 means "no limit".
 */
export function limits(
  field: Field,
  message: CircuitBreakers | undefined,
): Omit<LimitsSpec, 'maxRequestsPerConnection'> {
  const thresholds = defaults(message)
  if (message !== undefined) field.onlyReads(CircuitBreakersSchema, message, names('thresholds'))
  if (thresholds !== undefined) field.at('thresholds').onlyReads(CircuitBreakers_ThresholdsSchema, thresholds, fields)
  // gRPC has no such limit, so control planes for its clients do not speak of it.
  const retries = field.dialect.providers === null ? 3 : 0xffff_ffff
  return {
    maxConnections: limit(thresholds?.maxConnections, 1024),
    maxPendingRequests: limit(thresholds?.maxPendingRequests, 1024),
    maxRequests: limit(thresholds?.maxRequests, 1024),
    // A retry budget replaces the fixed number (Envoy).
    maxRetries:
      thresholds?.retryBudget === undefined ? limit(thresholds?.maxRetries, retries) : Number.POSITIVE_INFINITY,
  }
}

/** Envoy's retry_budget: 20 % of the active calls, at least 3, when it is there and says nothing else. */
export function retryBudget(field: Field, message: CircuitBreakers | undefined): RetryBudgetSpec | null {
  const budget = defaults(message)?.retryBudget
  if (budget === undefined) return null
  const at = field.at('thresholds.retry_budget')
  return {
    kind: 'concurrency',
    percent: percent(at.at('budget_percent'), budget.budgetPercent?.value ?? 20),
    minConcurrency: budget.minRetryConcurrency ?? 3,
  }
}

function defaults(message: CircuitBreakers | undefined): Thresholds | undefined {
  return message?.thresholds.find((t) => t.priority === RoutingPriority.DEFAULT)
}

function limit(value: number | undefined, absent: number): number {
  const n = value ?? absent
  return n === 0xffff_ffff ? Number.POSITIVE_INFINITY : n
}
