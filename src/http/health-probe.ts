import { request } from 'node:http'
import type { Socket } from 'node:net'
import type { ClusterRuntime } from '../engine/cluster.ts'
import type { CheckResult, HealthProbe } from '../engine/health.ts'
import type { HostRuntime } from '../engine/host.ts'
import { InmeshError } from '../errors.ts'
import type { IdentityState } from '../identity/identity-state.ts'
import type { HealthCheckSpec } from '../model/cluster.ts'
import { dial } from '../transport/connect.ts'
import { PRIORITY_HEADER } from '../transport/hop-headers.ts'
import { allowedIds, externalOf, isSecure } from '../transport/peer-rules.ts'
import { grpcHealth } from './grpc-health.ts'
import { protocolsOf } from './host-link.ts'

type HttpCheck = Extract<HealthCheckSpec['how'], { kind: 'http' }>
type Report = (result: CheckResult) => void

/**
 * Health checks over connections of their own, dialled as calls to the cluster are: with its TLS, verified as its TLS. They
 * are closed after each check, and keep no process alive.
 */
export function healthProbe(identity: IdentityState | null): HealthProbe {
  return (cluster, host, spec, done) => {
    const secure = isSecure(host.spec, cluster.spec)
    if (secure && identity === null) return null
    let external: ReturnType<typeof externalOf>
    try {
      external = externalOf(host.spec, cluster.spec, protocolsOf(cluster.spec))
    } catch (error) {
      // A file of ours cannot be read: that is not the host's fault.
      if (error instanceof InmeshError) return null
      throw error
    }
    let over = false
    let close: (() => void) | null = null
    const report = (result: CheckResult) => {
      if (over) return
      over = true
      close?.()
      done(result)
    }
    const target = {
      address: host.spec.address,
      port: host.spec.port,
      // The check's own timeout comes from the engine.
      timeoutMs: spec.timeoutMs * 2,
      identity: secure ? identity : null,
      allowedIds: allowedIds(host.spec, cluster.spec),
      external,
      protocols: spec.how.kind === 'grpc' ? ['h2'] : ['http/1.1'],
      background: true,
    }
    let giveUp: () => void
    try {
      giveUp = dial(target, (error, socket) => {
        if (over) socket?.destroy()
        else if (error !== null) report('failed')
        else close = ask(socket!, cluster, host, spec, report)
      })
    } catch (error) {
      // Our own certificate is not valid: that is not the host's fault.
      if (error instanceof InmeshError) return null
      throw error
    }
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
  // "outbound|80|v1|shop.default.svc.cluster.local" is no authority that servers take.
  const authority = host.spec.hostname || cluster.name.slice(cluster.name.lastIndexOf('|') + 1)
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
