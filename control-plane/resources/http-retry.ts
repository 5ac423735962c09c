import * as z from 'zod'
import { retryOnWords } from '../../src/model/route.ts'
import { duration, uint32 } from './fields.ts'
import type { Report } from './kind.ts'
import { suggest } from './suggest.ts'

/** Istio's HTTPRetry, of a route or of the mesh (MeshConfig.defaultHttpRetryPolicy). */
export const httpRetry = z.strictObject({
  attempts: uint32
    .default(0)
    .describe(
      'Retries, so at most 1 + this many tries. Absent = 0 = none, as in Istio: `retries: {}` switches them off.',
    ),
  perTryTimeout: duration(1)
    .optional()
    .describe('Limit of one try. Not shorter than the timeout of the route = no effect.'),
  retryOn: z
    .string()
    .optional()
    .describe(
      'Conditions separated by commas: words of Envoy (5xx, gateway-error, reset, connect-failure, retriable-4xx...) and statuses.',
    ),
  backoff: duration(1)
    .optional()
    .describe('First interval of the back-off; it doubles up to ten times as much. Default 25ms.'),
  retryRemoteLocalities: z.boolean().optional().describe('Retries go to other localities than those that were tried.'),
  retryIgnorePreviousHosts: z
    .boolean()
    .optional()
    .describe('false = retries may go to the host that was tried before. Default true.'),
})

export type HttpRetrySpec = z.output<typeof httpRetry>

/** What the schema of a retry policy cannot see. `timeoutMs`: of the route; 0 = none. */
export function checkHttpRetry(
  retries: HttpRetrySpec,
  timeoutMs: number,
  path: readonly (string | number)[],
  report: Report,
): void {
  for (const field of ['retryOn', 'perTryTimeout', 'backoff'] as const)
    if (retries.attempts === 0 && retries[field] !== undefined)
      report('error', [...path, field], 'is configured but attempts is 0, which switches retries off')
  if (retries.perTryTimeout !== undefined && timeoutMs > 0 && retries.perTryTimeout >= timeoutMs)
    report('warning', [...path, 'perTryTimeout'], 'has no effect: it is not shorter than timeout')
  if (retries.retryOn === undefined) return
  for (const part of retries.retryOn.split(',')) {
    const word = part.trim()
    if (word !== part) report('warning', [...path, 'retryOn'], `Istio refuses the blanks around "${word}"`)
    if (!isRetryWord(word))
      report('error', [...path, 'retryOn'], `"${word}" is not a retry condition`, suggest(word, retryOnWords))
  }
}

function isRetryWord(word: string): boolean {
  return (retryOnWords as readonly string[]).includes(word) || /^[1-5]\d\d$/.test(word)
}
