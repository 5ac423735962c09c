/**
 * Time from `apply` (before the request to the admin API) to the moment at which the last of N processes uses the change, over
 * 50 changes. `node bench/mesh/propagation.ts [--processes 8] [--changes 50] [--json file]`, after a build.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { quantile } from '../statistics.ts'
import { startMesh } from './start.ts'

const { values } = parseArgs({
  options: {
    processes: { type: 'string', default: '8' },
    changes: { type: 'string', default: '50' },
    json: { type: 'string' },
  },
})
const mesh = await startMesh()
try {
  await mesh.service('payments')
  const callers = []
  for (let i = 0; i < Number(values.processes); i++) callers.push(await mesh.service(`caller-${i}`))
  const last: number[] = []
  for (let i = 0; i < Number(values.changes); i++) {
    // The timeout of a route to payments: each process says when its engine's table has this very one.
    const timeoutMs = 2_000 + i
    const used = callers.map((caller) => caller.ask<number>('uses', timeoutMs))
    const before = performance.timeOrigin + performance.now()
    await mesh.apply(
      `apiVersion: inmesh.dev/v1\nkind: ServicePolicy\nmetadata: {name: payments}\nspec: {service: payments, timeoutMs: ${timeoutMs}}\n`,
    )
    last.push(Math.max(...(await Promise.all(used))) - before)
  }
  const round = (ms: number) => Math.round(ms * 10) / 10
  const result = {
    processes: callers.length,
    changes: last.length,
    p50Ms: round(quantile(last, 0.5)),
    p99Ms: round(quantile(last, 0.99)),
    maxMs: round(Math.max(...last)),
  }
  console.table(result)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ propagation: result }, null, 2)}\n`)
} finally {
  await mesh.close()
}
