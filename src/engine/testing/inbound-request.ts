import type { Peer } from '../../model/peer.ts'
import type { InboundRequest } from '../inbound-step.ts'

/** A request as a server's transport would show it, with what it is told. */
export interface TestInboundRequest extends InboundRequest {
  readonly answerHeaders: Record<string, string>
  /** What `resume` was called with. */
  readonly resumed: unknown[]
}

/** @param over anything but the default: GET / of a peer named `orders`, without headers and without deadline */
export function inboundRequest(
  over: Partial<InboundRequest> & { headers?: Readonly<Record<string, string>> } = {},
): TestInboundRequest {
  const { headers = {}, ...rest } = over
  const answerHeaders: Record<string, string> = {}
  const resumed: unknown[] = []
  return {
    method: 'GET',
    authority: 'payments',
    path: '/',
    peer: peerOf('orders'),
    deadline: Number.POSITIVE_INFINITY,
    remoteAddress: '10.0.0.9',
    localAddress: '10.0.0.1',
    localPort: 8080,
    priority: null,
    policyPath: '',
    eased: false,
    answerHeaders,
    resumed,
    header: (name) => headers[name],
    values: (name) => (headers[name] === undefined ? [] : [headers[name]]),
    setPath(path) {
      Object.assign(this, { path })
    },
    setAnswerHeader(name, value) {
      answerHeaders[name] = value
    },
    resume: (verdict) => resumed.push(verdict),
    ...rest,
  }
}

export function peerOf(serviceAccount: string): Peer {
  return {
    spiffeId: `spiffe://cluster.local/ns/default/sa/${serviceAccount}`,
    trustDomain: 'cluster.local',
    namespace: 'default',
    serviceAccount,
    serialNumber: '01',
    notAfter: 0,
    tlsVersion: 'TLSv1.3',
  }
}
