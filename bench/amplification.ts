/**
 * How often the last of four services is called for each call of the first, while it fails every call: naive retries, retry
 * budgets alone, and budgets with the guard across hops. Real sockets, all services in this process.
 *
 *     node bench/amplification.ts [calls]
 */
import type { RetryBudgetSpec } from '../src/model/cluster.ts'
import { type ChainOptions, startChain } from '../test/support/chain.ts'
import { createTestCa } from '../test/support/test-ca.ts'

const calls = Number(process.argv[2] ?? 500)
const naiveCalls = Math.min(calls, 20)
const AT_A_TIME = 50
const ca = createTestCa('cluster.local')
const unlimited: RetryBudgetSpec = { kind: 'window', percent: 100_000, windowMs: 10_000, floorPerSecond: 100_000 }
const envoy: RetryBudgetSpec = { kind: 'concurrency', percent: 20, minConcurrency: 3 }

const rows: { name: string; calls: number; options: Pick<ChainOptions, 'retryBudget' | 'ca'> }[] = [
  { name: 'naive: 3 retries at every hop', calls: naiveCalls, options: { retryBudget: unlimited } },
  { name: "Envoy's budget at every hop, no guard", calls, options: { retryBudget: envoy } },
  { name: 'default budget at every hop, no guard', calls, options: { retryBudget: null } },
  { name: 'guard, no budget', calls, options: { retryBudget: unlimited, ca } },
  { name: 'default: budget and guard', calls, options: { retryBudget: null, ca } },
]

const table: Record<string, string | number>[] = []
for (const row of rows) {
  const chain = await startChain({
    length: 4,
    retry: { numRetries: 3, baseIntervalMs: 25, maxIntervalMs: 250 },
    last(_req, res) {
      res.statusCode = 503
      res.end()
    },
    ...row.options,
  })
  for (let i = 0; i < row.calls; i += AT_A_TIME)
    await Promise.all(Array.from({ length: Math.min(AT_A_TIME, row.calls - i) }, () => chain.call()))
  const [first, second, third, last] = chain.seen.map((n) => n / row.calls) as [number, number, number, number]
  table.push({
    policy: row.name,
    calls: row.calls,
    first,
    second: round(second),
    third: round(third),
    last: round(last),
  })
  await chain.close()
}
console.table(table)
process.exit((table.at(-1)!.last as number) <= 1.25 ? 0 : 1)

function round(n: number): number {
  return Math.round(n * 100) / 100
}
