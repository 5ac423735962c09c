import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ExplainRequest, Explanation } from '../engine/explain/explanation.ts'
import { InmeshError } from '../errors.ts'
import { explainAnswer } from './admin-explain.ts'
import type { ScrapeText } from './exposition.ts'
import { redact } from './redact.ts'

/** What the admin port shows; asked for at each request. */
export interface AdminSources {
  /** What is still waited for; empty = ready. */
  waitingFor(): readonly string[]
  metrics(): Promise<ScrapeText>
  /** Anything; what is secret is taken out. */
  configDump(): unknown
  /** What would become of a request; throws for what is no URL. */
  explain(request: ExplainRequest): Explanation
}

export interface AdminServer {
  readonly port: number
  close(): Promise<void>
}

/**
 * The process's own port for operators: GET /ready, /metrics, /config_dump and
 * /explain?url=URL[&method=M][&header=NAME:VALUE]..., on 127.0.0.1 only. It does not keep the
 * process alive.
 * @param port 0 = a free one
 * @throws InmeshError ERR_INMESH_INVALID_OPTION when the port is taken or forbidden
 */
export async function startAdminServer(port: number, sources: AdminSources): Promise<AdminServer> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000, maxHeaderSize: 8_192 }, (req, res) => {
    answer(req, res, sources).catch((error: unknown) => {
      if (!res.headersSent) send(res, 500, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`)
      else res.destroy()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const why = cause.code === 'EADDRINUSE' ? 'is in use' : `cannot be used (${cause.code ?? cause.message})`
      const hint = 'choose another by adminPort or INMESH_ADMIN_PORT'
      reject(new InmeshError('ERR_INMESH_INVALID_OPTION', `admin port 127.0.0.1:${port} ${why}: ${hint}`, { cause }))
    })
    server.listen(port, '127.0.0.1', resolve)
  })
  server.unref()
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function answer(req: IncomingMessage, res: ServerResponse, sources: AdminSources): Promise<void> {
  // A web page must not reach this port by a name of its own that resolves to loopback (DNS rebinding).
  if (!isLoopbackHost(req.headers.host)) return send(res, 403, 'text/plain', 'this port answers to localhost only\n')
  if (req.method !== 'GET' && req.method !== 'HEAD') return send(res, 405, 'text/plain', 'GET only\n')
  const path = (req.url ?? '/').split('?', 1)[0]
  if (path === '/ready') {
    const waitingFor = sources.waitingFor()
    const ready = waitingFor.length === 0
    return send(res, ready ? 200 : 503, 'application/json', `${JSON.stringify({ ready, waitingFor })}\n`)
  }
  if (path === '/metrics') {
    const { contentType, body } = await sources.metrics()
    return send(res, 200, contentType, body)
  }
  if (path === '/config_dump') {
    return send(res, 200, 'application/json', `${JSON.stringify(redact(sources.configDump()), null, 2)}\n`)
  }
  if (path === '/explain') return send(res, ...explainAnswer(req, sources))
  send(res, 404, 'text/plain', 'GET /ready, /metrics, /config_dump or /explain?url=URL\n')
}

function send(res: ServerResponse, status: number, type: string, body: string): void {
  res.writeHead(status, { 'content-type': type, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  res.end(body)
}

function isLoopbackHost(host: string | undefined): boolean {
  return host !== undefined && /^(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?$/i.test(host)
}
