import { request } from 'node:http'
import type { Socket } from 'node:net'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { CheckResult, HealthProbe } from '../engine/health.ts'
import type { HostRuntime } from '../engine/host.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { HealthCheckSpec } from '../model/cluster.ts'
import { PRIORITY_HEADER } from '../transport/hop-headers.ts'
import { authorityOf, dialHost } from './dial-host.ts'
import { grpcHealth } from './grpc-health.ts'

type HttpCheck = Extract<HealthCheckSpec['how'], { kind: 'http' }>
type Report = (result: CheckResult) => void

/**
 * Health checks over connections of their own, dialled as calls to the cluster are: with its TLS, verified as its TLS. They
 * are closed after each check, and keep no process alive.
 */
export function healthProbe(identity: IdentityState | null): HealthProbe {
  return (cluster, host, spec, done) => {
    let over = false
    let close: (() => void) | null = null
    const report = (result: CheckResult) => {
      if (over) return
      over = true
      close?.()
      done(result)
    }
    // The check's own timeout comes from the engine.
    const how = { timeoutMs: spec.timeoutMs * 2, protocols: spec.how.kind === 'grpc' ? ['h2'] : ['http/1.1'] }
    const giveUp = dialHost(identity, cluster, host, how, (error, socket) => {
      if (over) socket?.destroy()
      else if (error !== null) report('failed')
      else close = ask(socket!, cluster, host, spec, report)
    })
    if (giveUp === null) return null
    return () => {
      if (over) return
      over = true
      giveUp()
      close?.()
    }
  }
}

/** @returns closes the connection */
function ask(
  socket: Socket,
  cluster: ClusterRuntime,
  host: HostRuntime,
  spec: HealthCheckSpec,
  report: Report,
): () => void {
  const { how } = spec
  const authority = authorityOf(cluster, host)
  switch (how.kind) {
    case 'tcp':
      report('healthy')
      socket.destroy()
      return () => undefined
    case 'http':
      return askHttp(socket, how, how.host || authority, report)
    case 'grpc':
      return grpcHealth(socket, authority, how.serviceName, report)
  }
}

function askHttp(socket: Socket, how: HttpCheck, host: string, report: Report): () => void {
  const { path, method, expectedStatuses } = how
  // A server that sheds load is busy, not sick: to take it out would move its load to the others.
  const headers = { host, 'user-agent': 'inmesh/health-check', connection: 'close', [PRIORITY_HEADER]: 'CRITICAL' }
  const asked = request({ method, path, headers, createConnection: () => socket })
  asked.on('response', (response) => {
    const status = response.statusCode ?? 0
    report(expectedStatuses.some(({ start, end }) => status >= start && status < end) ? 'healthy' : 'unhealthy')
  })
  asked.on('error', () => report('failed'))
  asked.end()
  return () => {
    asked.destroy()
    socket.destroy()
  }
}
