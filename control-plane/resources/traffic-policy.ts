import * as z from 'zod'
import { checkClientTls, clientTls, tlsMode } from './client-tls.ts'
import { checkConnectionPool, connectionPool } from './connection-pool.ts'
import { duration, percent, port, uint32 } from './fields.ts'
import type { Report } from './kind.ts'
import { checkLoadBalancer, loadBalancer } from './load-balancer.ts'
import { checkOutlierDetection, outlierDetection } from './outlier-detection.ts'

const retryBudget = z.strictObject({
  percent: percent.default(20).describe('Retries may be this share of the calls under way.'),
  minRetryConcurrency: uint32.default(3).describe('So many retries may always be under way.'),
  budgetInterval: duration(0).optional().describe('0s: calls under way; more is not supported.'),
})

const blocks = {
  loadBalancer: loadBalancer.optional(),
  connectionPool: connectionPool.optional(),
  outlierDetection: outlierDetection.optional(),
  tls: clientTls.optional(),
  retryBudget: retryBudget.optional(),
}

/** Istio's TrafficPolicy. Its blocks replace each other whole; nothing is merged inside one. */
export const trafficPolicy = z.strictObject({
  ...blocks,
  portLevelSettings: z
    .array(z.strictObject({ ...blocks, port: z.strictObject({ number: port }) }))
    .default([])
    .describe('Replace the policy whole for one port: what they leave out is the default.'),
})

export type TrafficPolicy = z.output<typeof trafficPolicy>
/** The blocks that overlay each other whole. */
export type PolicyBlocks = Omit<TrafficPolicy, 'portLevelSettings'>

export function checkTrafficPolicy(
  policy: TrafficPolicy | undefined,
  path: readonly (string | number)[],
  report: Report,
): void {
  if (policy === undefined) return
  checkBlocks(policy, path, report)
  const ports = new Set<number>()
  policy.portLevelSettings.forEach((setting, i) => {
    const at = [...path, 'portLevelSettings', i]
    checkBlocks(setting, at, report)
    if (ports.has(setting.port.number)) report('error', [...at, 'port'], `port ${setting.port.number} is set twice`)
    ports.add(setting.port.number)
  })
}

function checkBlocks(policy: PolicyBlocks, path: readonly (string | number)[], report: Report): void {
  if (policy.loadBalancer !== undefined) checkLoadBalancer(policy.loadBalancer, [...path, 'loadBalancer'], report)
  if (policy.connectionPool !== undefined)
    checkConnectionPool(policy.connectionPool, [...path, 'connectionPool'], report)
  if (policy.outlierDetection !== undefined)
    checkOutlierDetection(policy.outlierDetection, [...path, 'outlierDetection'], report)
  if (policy.tls !== undefined) checkClientTls(policy.tls, [...path, 'tls'], report)
  if (policy.retryBudget?.budgetInterval)
    report('warning', [...path, 'retryBudget', 'budgetInterval'], 'has no effect: the calls under way are the measure')
  if (policy.loadBalancer?.simple === 'PASSTHROUGH' && policy.tls !== undefined && tlsMode(policy.tls) !== 'DISABLE')
    report('error', [...path, 'loadBalancer', 'simple'], 'calls that leave the mesh cannot have tls')
}
