/** Services that call each other in a row over real sockets, the last of which fails every call. */
import { once } from 'node:events'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Inbound } from '../../src/engine/inbound.ts'
import { createMeshServer } from '../../src/http/server.ts'
import { systemClock } from '../../src/model/clock.ts'
import type { RetryBudgetSpec } from '../../src/model/cluster.ts'
import { inboundDefaults, shedDefaults } from '../../src/model/inbound.ts'
import type { RetrySpec, RouteSpec } from '../../src/model/route.ts'
import { call, meshClient, type ServiceSpec, type TestClient } from './mesh-client.ts'
import { identityOf } from './mesh-http.ts'
import type { TestCa } from './test-ca.ts'

export interface ChainOptions {
  /** Services, the first of which is called from outside. */
  readonly length: number
  readonly retry: Partial<RetrySpec>
  /** null = the engine's default. */
  readonly retryBudget: RetryBudgetSpec | null
  readonly route?: Partial<RouteSpec>
  /** Servers of the mesh with certificates of this authority; absent = plain node:http, which knows nothing of its callers. */
  readonly ca?: TestCa
  /** HTTP/2 between them; needs `ca`. */
  readonly http2?: boolean
  /** The last service. */
  readonly last: RequestListener
  /** Asked before each request is handled; true = it was dealt with. */
  readonly before?: (service: number, ...args: Parameters<RequestListener>) => boolean
  /** What the services between make of the answer they got; the same status by default. */
  readonly answer?: (status: number) => number
}

export interface Chain {
  /** Requests that each service got. */
  readonly seen: number[]
  /** Calls the first service and tells the status of its answer. */
  call(): Promise<number>
  close(): Promise<void>
}

/** Load is not shed: what a busy machine refuses would be counted as what the chain does. */
const shed = { ...shedDefaults, enabled: false }
const strict = new Inbound({ ...inboundDefaults, name: 'chain', tlsMode: 'STRICT', rbac: [], shed })

export async function startChain(options: ChainOptions): Promise<Chain> {
  const { length, ca, answer = (status) => status } = options
  const seen = Array.from({ length }, () => 0)
  const closing: (() => unknown)[] = []

  const clientOf = (port: number): TestClient => {
    const service: ServiceSpec = {
      endpoints: [{ port, ...(ca === undefined ? {} : { tlsMode: 'mtls' as const }) }],
      retry: options.retry,
      route: options.route ?? {},
      cluster: { retryBudget: options.retryBudget, protocol: options.http2 === true ? 'h2' : 'http1' },
    }
    const made = meshClient({ next: service }, ca === undefined ? {} : { identity: identityOf(ca, 'caller') })
    closing.push(() => made.close())
    return made
  }

  const listen = async (at: number, listener: RequestListener): Promise<number> => {
    const counted: RequestListener = (req, res) => {
      seen[at]!++
      if (options.before?.(at, req, res) !== true) listener(req, res)
    }
    let server: Server
    if (ca === undefined) server = createServer(counted)
    else {
      const mesh = createMeshServer(counted, {
        identity: identityOf(ca, `s${at}`),
        inbound: () => strict,
        clock: systemClock,
        http2: options.http2 === true,
      })
      server = mesh.server
    }
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => {
      server.close()
      server.closeAllConnections()
    })
    return (server.address() as AddressInfo).port
  }

  let port = await listen(length - 1, options.last)
  for (let at = length - 2; at >= 0; at--) {
    const { dispatcher } = clientOf(port)
    port = await listen(at, (_req, res) => {
      call(dispatcher, 'http://next/').then(
        ({ status }) => {
          res.statusCode = answer(status)
          res.end()
        },
        () => res.destroy(),
      )
    })
  }
  // Whoever calls from outside does not repeat: it is not one of the hops.
  const outside = meshClient(
    { first: { endpoints: [{ port, ...(ca === undefined ? {} : { tlsMode: 'mtls' as const }) }] } },
    ca === undefined ? {} : { identity: identityOf(ca, 'outside') },
  )
  closing.push(() => outside.close())
  return {
    seen,
    call: async () => (await call(outside.dispatcher, 'http://first/')).status,
    async close() {
      for (const close of closing.splice(0).reverse()) await close()
    },
  }
}
