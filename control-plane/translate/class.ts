import { compileString } from '../../src/match/string.ts'
import type { StringMatch } from '../../src/model/match.ts'
import type { MeshIndex } from './mesh-index.ts'
import type { MatchPlan, RetryPlan, RoutePlan } from './route-plan.ts'
import { objectKey } from './rule.ts'
import type { ClientClass, ClientView } from './types.ts'

/**
 * What differs between client classes. One value that a gRPC client cannot use makes it refuse the whole resource, so
 * it is left out or put in other words here; peers of either class are tested against this.
 */

/** The retry conditions that gRPC knows (gRFC A44). */
const grpcRetryWords = new Set(['cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'])

export function isForeign(clientClass: ClientClass): boolean {
  return clientClass !== 'inmesh'
}

/** null = no retry policy at all: gRPC refuses one that has no condition left. */
export function retryFor(clientClass: ClientClass, retry: RetryPlan | null): RetryPlan | null {
  if (retry === null || !isForeign(clientClass)) return retry
  const retryOn = retry.retryOn.filter((word) => grpcRetryWords.has(word))
  // grpc-js-xds reads an interval of whole seconds as ten times as long.
  const wholeSeconds = retry.baseIntervalMs % 1000 === 0
  const baseIntervalMs = clientClass === 'grpc-js' && wholeSeconds ? retry.baseIntervalMs - 1 : retry.baseIntervalMs
  return retryOn.length === 0 ? null : { ...retry, retryOn, statusCodes: [], baseIntervalMs }
}

/**
 * The whole-call deadline for gRPC, ms; 0 = none. A default timeout ends at the response headers, which gRPC cannot
 * express: as a deadline it would cut streams, so only one that somebody asked for becomes a deadline.
 */
export function streamDurationMs(plan: RoutePlan): number {
  return plan.timeoutAsked ? plan.timeoutMs : 0
}

/**
 * grpc-js-xds takes a resource that comes back with the bytes that it had before it was deleted for still deleted. So
 * what can go and come back is different each time (`listenerMark`), or never goes (`keepsClusters`). A service that has
 * ever registered never goes for anybody.
 */
export function keepsClusters(clientClass: ClientClass): boolean {
  return clientClass === 'grpc-js'
}

/**
 * A text that stands in the listener of `host` and means nothing; '' mostly. A host that only a VirtualService knows
 * comes and goes with that, so its listener carries the state of the object.
 */
export function listenerMark({ clientClass, namespace }: ClientView, index: MeshIndex, host: string): string {
  const mentioned = clientClass === 'grpc-js' && !index.services.has(host)
  const rule = mentioned ? index.virtualService(host, namespace) : undefined
  return rule === undefined ? '' : objectKey(rule.object)
}

/**
 * Whether clients are asked what becomes of their calls (LRS). grpc-java limits requests only where they are counted for that; of
 * grpc-js-xds, which leaks where it counts, nobody asks.
 */
export function reportsLoad({ clientClass }: ClientView, ofOwn: boolean): boolean {
  return clientClass === 'grpc' || (clientClass === 'inmesh' && ofOwn)
}

/** A condition on a header as every class understands it; `absentMatches` = also true when the header is not there. */
export interface HeaderCondition {
  readonly name: string
  readonly kind: 'present' | 'absent' | 'matches' | 'differs'
  readonly match?: StringMatch
  /** For 'differs': whether a request without the header fulfils it. */
  readonly absentMatches?: boolean
}

/** Most routes that one route may become for a client that cannot say "absent or different" in one condition. */
const maxVariants = 16

/**
 * The conditions on headers, as alternatives of which each must become a route of its own; [] = this client can never
 * fulfil them.
 */
export function headerAlternatives(clientClass: ClientClass, match: MatchPlan): HeaderCondition[][] {
  const conditions: HeaderCondition[] = []
  for (const [name, value] of Object.entries(match.headers))
    conditions.push(value === 'present' ? { name, kind: 'present' } : { name, kind: 'matches', match: value })
  for (const [name, value] of Object.entries(match.withoutHeaders))
    conditions.push(value === 'present' ? { name, kind: 'absent' } : { name, kind: 'differs', match: value })
  if (match.authority !== undefined) conditions.push({ name: ':authority', kind: 'matches', match: match.authority })
  if (!isForeign(clientClass)) {
    if (match.method !== undefined) conditions.push({ name: ':method', kind: 'matches', match: match.method })
    return [conditions.map((condition) => ({ ...condition, absentMatches: true }))]
  }
  // gRPC calls are POSTs without a query; its routes cannot ask for either (gRFC A28).
  if (match.method !== undefined && !compileString(match.method)('POST')) return []
  if (Object.keys(match.queryParams).length > 0) return []
  // grpc-js-xds lets an inverted condition match a header that is absent; the others follow A28 and do not.
  if (clientClass === 'grpc-js') return [conditions]
  return conditions.reduce<HeaderCondition[][]>(
    (alternatives, condition) => {
      if (condition.kind !== 'differs' || alternatives.length >= maxVariants)
        return alternatives.map((one) => [...one, condition])
      return alternatives.flatMap((one) => [
        [...one, condition],
        [...one, { name: condition.name, kind: 'absent' }],
      ])
    },
    [[]],
  )
}
