/**
 * What the mesh costs a client of HTTP: `node bench/main.ts [--json file] [--quick] [--gate]`. How it measures: harness.ts.
 * With --gate it exits with 1 when a budget is exceeded.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createTestCa } from '../test/support/test-ca.ts'
import { asJson, compare, type Plan, type Result, table } from './harness.ts'
import { baseOf, type ClientSetup, type Credentials, type ServerPorts, type Variant, variants } from './protocol.ts'

const { values: args } = parseArgs({
  options: { json: { type: 'string' }, quick: { type: 'boolean' }, gate: { type: 'boolean' } },
})

const common = { warmRequests: 60_000, byteRequests: 4_000 }
const plan: Plan = args.quick
  ? { ...common, epochs: 1, rounds: 5, requests: 4_000, byteProcesses: 1 }
  : { ...common, epochs: 4, rounds: 8, requests: 6_000, byteProcesses: 3 }

/** With every feature of a route configured. */
const budgets = { bytes: 2_600, cpuRatio: 1.2 }
const gated: readonly Variant[] = ['mesh', 'mesh-mtls']
/** A Response costs more than an answer of undici.request; the platform's fetch costs 3.8 times as much. */
const fetchRatio = 1.35
/** A thousand services against one. */
const routesRatio = 1.1

const ca = createTestCa('cluster.local')
const serverId = 'spiffe://cluster.local/ns/default/sa/payments'
const credentialsOf = (id: string): Credentials => {
  const leaf = ca.issue(id)
  return { cert: leaf.certPem, key: leaf.keyPem, root: ca.rootPem }
}

const credentials = credentialsOf('spiffe://cluster.local/ns/default/sa/orders')
const result = await compare<Variant>(
  {
    variants,
    baseOf,
    plan,
    serverFile: join(import.meta.dirname, 'server.ts'),
    serverSetup: { credentials: credentialsOf(serverId) },
    clientFile: join(import.meta.dirname, 'client.ts'),
    clientSetup: (variant, ports): ClientSetup => ({
      variant,
      ports: ports as ServerPorts,
      credentials,
      serverId,
      trustDomain: 'cluster.local',
    }),
  },
  'control',
)
console.log(table('GET, 1 KB answer, HTTP/1.1', plan, result))
const failures = overBudget(result)
if (args.json !== undefined) writeFileSync(args.json, asJson(plan, result, { budgets, failures }))
for (const failure of failures) console.error(`over budget: ${failure}`)
if (args.gate && failures.length > 0) process.exit(1)

function overBudget({ rows, quiet }: Result<Variant>): string[] {
  const failures: string[] = []
  const ratio = (variant: Variant, allowed: number) => {
    const { median } = rows.get(variant)!.ratio
    if (quiet && !(median <= allowed)) failures.push(`${variant}: CPU ratio ${median.toFixed(2)}, ${allowed} allowed`)
  }
  for (const variant of gated) {
    const { plusBytes } = rows.get(variant)!
    // A count that never came is no pass.
    if (!(plusBytes <= budgets.bytes))
      failures.push(`${variant}: ${plusBytes.toFixed(0)} bytes more per request, ${budgets.bytes} allowed`)
    ratio(variant, budgets.cpuRatio)
  }
  ratio('mesh-fetch', fetchRatio)
  ratio('mesh-routes', routesRatio)
  return failures
}
