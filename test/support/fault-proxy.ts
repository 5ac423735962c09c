/** A TCP proxy that breaks what goes through it, on purpose and at an exact byte. For tests. */
import { connect, createServer, type Server, type Socket } from 'node:net'

/** What happens to one direction of one connection. */
export interface Fault {
  /** ms that every chunk waits. */
  delayMs?: number
  /** After this many bytes of the direction went through, `action` happens. Default 0. */
  afterBytes?: number
  /** reset: RST both sides. close: FIN both sides. hold: nothing more goes through. garbage: bytes that are no HTTP, then FIN. */
  action?: 'reset' | 'close' | 'hold' | 'garbage'
}

/** What happens to one connection. */
export interface ConnectionFaults {
  /** Client to server. */
  request?: Fault
  /** Server to client. */
  response?: Fault
  /** Accept, then reset at once. */
  refuse?: boolean
}

export interface FaultProxy {
  readonly port: number
  /** Connections accepted so far. */
  readonly accepted: number
  /** Bytes that came from clients, whether they went further or not. */
  readonly bytesFromClients: number
  /** Decides the faults of the next connections; `index` counts from 0. */
  plan: (index: number) => ConnectionFaults
  /** Resets every open connection now. */
  resetAll(): void
  /** Closes (FIN) every open connection now. */
  closeAll(): void
  close(): Promise<void>
}

/**
 *     const proxy = await startFaultProxy(serverPort)
 *     proxy.plan = (index) => (index === 0 ? { response: { afterBytes: 20, action: 'reset' } } : {})
 */
export async function startFaultProxy(targetPort: number): Promise<FaultProxy> {
  const open = new Set<Socket>()
  const state = { accepted: 0, bytesFromClients: 0, plan: (_index: number): ConnectionFaults => ({}) }
  const server: Server = createServer({ allowHalfOpen: false }, (client) => {
    const faults = state.plan(state.accepted++)
    client.on('error', ignore)
    if (faults.refuse === true) {
      client.resetAndDestroy()
      return
    }
    const upstream = connect(targetPort, '127.0.0.1')
    upstream.on('error', ignore)
    for (const socket of [client, upstream]) {
      open.add(socket)
      socket.setNoDelay(true)
      socket.on('close', () => open.delete(socket))
    }
    client.on('data', (chunk) => {
      state.bytesFromClients += chunk.length
    })
    forward(client, upstream, faults.request ?? {}, client, upstream)
    forward(upstream, client, faults.response ?? {}, client, upstream)
    client.on('close', () => upstream.destroy())
    upstream.on('close', () => client.end())
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  return {
    port: (server.address() as { port: number }).port,
    get accepted() {
      return state.accepted
    },
    get bytesFromClients() {
      return state.bytesFromClients
    },
    get plan() {
      return state.plan
    },
    set plan(next) {
      state.plan = next
    },
    resetAll() {
      for (const socket of open) socket.resetAndDestroy()
    },
    closeAll() {
      for (const socket of open) socket.end()
    },
    close() {
      for (const socket of open) socket.destroy()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

function forward(from: Socket, to: Socket, fault: Fault, client: Socket, upstream: Socket): void {
  let left = fault.action === undefined ? Number.POSITIVE_INFINITY : (fault.afterBytes ?? 0)
  let broken = false
  const strike = () => {
    broken = true
    if (fault.action === 'reset') {
      client.resetAndDestroy()
      upstream.resetAndDestroy()
    } else if (fault.action === 'close') {
      client.end()
      upstream.end()
    } else if (fault.action === 'garbage') {
      // No line end: after "HTTP/1.1 200 OK" an empty line would make it an answer, without headers and with an empty body.
      to.end('\u0000\u0001 this is no answer of any protocol')
    }
  }
  const pass = (chunk: Buffer) => {
    if (broken || to.destroyed) return
    const part = chunk.length <= left ? chunk : chunk.subarray(0, left)
    left -= part.length
    if (left > 0 || fault.action === undefined) {
      if (!to.write(part)) {
        from.pause()
        to.once('drain', () => from.resume())
      }
    } else if (part.length === 0) strike()
    else to.write(part, strike)
  }
  from.on('data', (chunk) => {
    if (fault.delayMs === undefined) pass(chunk)
    else setTimeout(pass, fault.delayMs, chunk)
  })
  from.on('end', () => {
    if (!broken) to.end()
  })
}

// Broken connections are what this proxy is for; their ends show it by 'close'.
function ignore(): void {}
