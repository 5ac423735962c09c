/**
 * What the mesh costs a client of gRPC: `node bench/grpc/main.ts [--json file] [--quick] [--gate]`. How it measures:
 * ../harness.ts. With --gate it exits with 1 when a budget is exceeded.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { startControlPlane } from '../../control-plane/start.ts'
import { createTestCa } from '../../test/support/test-ca.ts'
import { asJson, compare, type Plan, type Result, table } from '../harness.ts'
import { addresses, type Credentials } from '../protocol.ts'
import { baseOf, type GrpcClientSetup, type GrpcServerPorts, type GrpcVariant, variants } from './protocol.ts'

const { values: args } = parseArgs({
  options: { json: { type: 'string' }, quick: { type: 'boolean' }, gate: { type: 'boolean' } },
})

const common = { warmRequests: 20_000, byteRequests: 2_000 }
const plan: Plan = args.quick
  ? { ...common, epochs: 1, rounds: 5, requests: 2_000, byteProcesses: 0 }
  : { ...common, epochs: 5, rounds: 8, requests: 3_000, byteProcesses: 1 }

/** Against bare grpc-js that sends the same headers. */
const budgets: Partial<Record<GrpcVariant, number>> = { mesh: 1.05, 'mesh-mtls': 1.05, 'mesh-stream': 1.05 }

const ca = createTestCa('cluster.local')
const serverId = 'spiffe://cluster.local/ns/default/sa/payments'
const credentialsOf = (id: string): Credentials => {
  const leaf = ca.issue(id)
  return { cert: leaf.certPem, key: leaf.keyPem, root: ca.rootPem }
}

/** For the variant that follows one: the features of `mesh`, as far as gRPC knows them. */
const rules = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments, namespace: default }
spec:
  host: payments
  trafficPolicy:
    connectionPool: { http: { http2MaxRequests: 1024 } }
    outlierDetection: { interval: 10s }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments, namespace: default }
spec:
  hosts: [payments]
  http:
    - { match: [{ uri: { prefix: /admin/ } }], route: [{ destination: { host: payments } }] }
    - { match: [{ uri: { exact: /healthz } }], route: [{ destination: { host: payments } }] }
    - { match: [{ headers: { x-canary: { exact: "true" } } }], route: [{ destination: { host: payments } }] }
    - { match: [{ headers: { x-beta: { exact: "1" } } }], route: [{ destination: { host: payments } }] }
    - timeout: 5s
      retries: { attempts: 3, retryOn: unavailable }
      route: [{ destination: { host: payments } }]
`

const folder = await mkdtemp(join(tmpdir(), 'inmesh-bench-'))
const controlPlane = await startControlPlane({
  dataDir: folder,
  listen: '127.0.0.1:0',
  admin: '127.0.0.1:0',
  insecureXds: '127.0.0.1:0',
})
await controlPlane.apply(rules)

async function known(port: number): Promise<void> {
  const endpoints = addresses.map((address) => ({
    ...{ service: 'payments', namespace: 'default', address, port, locality: '', weight: 1 },
    ...{ labels: { app: 'payments' }, spiffeId: serverId, health: 'HEALTHY' as const, instanceId: address },
  }))
  await controlPlane.store.endpoints.change(endpoints, [])
}

let registered: Promise<void> | null = null
const credentials = credentialsOf('spiffe://cluster.local/ns/default/sa/orders')
try {
  const result = await compare<GrpcVariant>(
    {
      variants,
      baseOf,
      plan,
      serverFile: join(import.meta.dirname, 'server.ts'),
      serverSetup: { credentials: credentialsOf(serverId) },
      clientFile: join(import.meta.dirname, 'client.ts'),
      clientSetup: async (variant, server): Promise<GrpcClientSetup> => {
        const ports = server as GrpcServerPorts
        registered ??= known(ports.plain)
        await registered
        return {
          variant,
          ports,
          credentials,
          serverId,
          trustDomain: 'cluster.local',
          xdsPort: controlPlane.ports.insecureXds!,
        }
      },
    },
    'control',
  )
  console.log(table('gRPC, 1 KB answer', plan, result))
  const failures = overBudget(result)
  if (args.json !== undefined) await writeFile(args.json, asJson(plan, result, { budgets, failures }))
  for (const failure of failures) console.error(`over budget: ${failure}`)
  if (args.gate && failures.length > 0) process.exitCode = 1
} finally {
  await controlPlane.close()
  await rm(folder, { recursive: true, force: true })
}

function overBudget({ rows, quiet }: Result<GrpcVariant>): string[] {
  if (!quiet) return []
  return Object.entries(budgets).flatMap(([variant, allowed]) => {
    const { median } = rows.get(variant as GrpcVariant)!.ratio
    return median <= allowed ? [] : [`${variant}: CPU ratio ${median.toFixed(2)}, ${allowed} allowed`]
  })
}
