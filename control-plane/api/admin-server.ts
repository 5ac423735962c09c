import { createServer, type Server } from 'node:http'
import { isIP } from 'node:net'
import { getRequestListener } from '@hono/node-server'
import type { Hono } from 'hono'
import type { Logger } from '../../src/model/logger.ts'

/** Serves the admin API over HTTP; settles with the port. Rejects with the system's error. */
export function serveAdmin(
  app: Hono,
  host: string,
  port: number,
  logger: Logger,
): Promise<{ server: Server; port: number }> {
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 60_000 }, getRequestListener(app.fetch))
  server.on('clientError', (_error, socket) => socket.destroy())
  if (isIP(host) !== 0 && host !== '::1' && !host.startsWith('127.'))
    logger.warn('the admin API listens beyond loopback, and its token travels unencrypted', { host })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      server.on('error', (error) => logger.error('admin port failed', { error }))
      const address = server.address()
      if (address === null || typeof address === 'string') reject(new Error('the admin port has no address'))
      else resolve({ server, port: address.port })
    })
  })
}
