import type { RouteAction, RouteSpec, WeightedCluster } from '../../src/model/route.ts'
import type { HttpMatch } from '../resources/virtual-service.ts'
import type { RouteExtras } from './service-policy.ts'

/** What a route shall do, before it is put in the words that a client class understands. */
export interface RoutePlan {
  readonly name: string
  readonly match: MatchPlan
  /** Where calls go; empty when there is an `answer`. */
  readonly clusters: readonly PlannedCluster[]
  /** What the data plane answers itself; null = nothing. */
  readonly answer: Answer | null
  readonly actions: PlannedActions
  /** ms; 0 = none. */
  readonly timeoutMs: number
  /** Until the response headers only. */
  readonly timeoutUntilHeaders: boolean
  /** Whether somebody asked for this timeout, rather than the default. */
  readonly timeoutAsked: boolean
  readonly retry: RetryPlan | null
  readonly decidedBy: Readonly<Record<string, string>>
  readonly notes: readonly string[]
  /** What only ServicePolicy speaks about. */
  readonly extras: RouteExtras
}

/** `headers` only where there are several: edits of one destination are the route's. */
export type PlannedCluster = WeightedCluster

export type Answer = Exclude<RouteAction, { kind: 'forward' }>

/** Parts of a route that the model of the data plane has under the same names; the defaults of it = nothing. */
export interface PlannedActions extends Pick<RouteSpec, 'headers' | 'rewrite' | 'cors' | 'fault' | 'hash'> {
  readonly mirrors: readonly { readonly cluster: string; readonly perMillion: number }[]
  /** While a cluster does not exist. Default 503; 500 for routes of the Gateway API. */
  readonly clusterNotFoundStatus: 500 | 503
}

export const noActions: PlannedActions = {
  headers: null,
  rewrite: null,
  cors: null,
  fault: null,
  hash: [],
  mirrors: [],
  clusterNotFoundStatus: 503,
}

/** The conditions that are left to the data plane; those about the caller and the port are decided here. */
export type MatchPlan = Pick<
  HttpMatch,
  'ignoreUriCase' | 'method' | 'authority' | 'headers' | 'withoutHeaders' | 'queryParams'
> & {
  /** 'segments': the Gateway API's PathPrefix. */
  readonly uri?: HttpMatch['uri'] | { readonly kind: 'segments'; readonly value: string }
  /** Share of the calls that may match, in millionths. Absent = all. */
  readonly fractionPerMillion?: number
}

export interface RetryPlan {
  readonly retryOn: readonly string[]
  readonly statusCodes: readonly number[]
  readonly attempts: number
  /** ms; 0 = none. */
  readonly perTryTimeoutMs: number
  readonly baseIntervalMs: number
  /** Retries may go where they were before. */
  readonly previousHosts: boolean
  /** Avoid localities that were tried, after so many tries; 0 = no. */
  readonly previousPriorities: number
}
