import { createServer, type Server } from 'node:net'

/** Below the ranges that systems take ports from by themselves: nobody gets one of these for listening on 0 or for connecting. */
const LEAST = 12_000
const MOST = 32_000

/** Ports of 127.0.0.1 that were free a moment ago and that nobody takes unasked; all held at once so that they differ. */
export async function freePorts(count: number): Promise<number[]> {
  const servers: Server[] = []
  while (servers.length < count) {
    const server = await listen(LEAST + Math.floor(Math.random() * (MOST - LEAST)))
    if (server !== null) servers.push(server)
  }
  const ports = servers.map((s) => (s.address() as { port: number }).port)
  await Promise.all(servers.map((s) => new Promise((resolve) => s.close(resolve))))
  return ports
}

/** null = somebody has it. */
function listen(port: number): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EADDRINUSE' ? resolve(null) : reject(error),
    )
    server.listen(port, '127.0.0.1', () => resolve(server))
  })
}
