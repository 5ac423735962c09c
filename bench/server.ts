/** The server process: answers 1 KB of JSON, in plaintext and over mutual TLS. */
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import type { ServerPorts, ServerSetup } from './protocol.ts'

const answer = Buffer.from(JSON.stringify({ items: 'x'.repeat(1024 - 12) }))
const headers = { 'content-type': 'application/json', 'content-length': answer.length }
const listener: RequestListener = (_request, response) => {
  response.writeHead(200, headers)
  response.end(answer)
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve))
  return (server.address() as AddressInfo).port
}

process.once('message', async ({ credentials }: ServerSetup) => {
  const { cert, key, root } = credentials
  const keepAlive = { keepAliveTimeout: 60_000 }
  const ports: ServerPorts = {
    http: await listen(createServer(keepAlive, listener)),
    https: await listen(
      createSecureServer(
        { ...keepAlive, cert, key, ca: [root], requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' },
        listener,
      ),
    ),
  }
  process.send!(ports)
})
