import { createServer, type Server, type Socket } from 'node:net'

/** The plaintext development port. */
export class PlainPort {
  readonly #server: Server
  readonly #open = new Set<Socket>()

  constructor(onConnection: (socket: Socket) => void) {
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.#open.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => this.#open.delete(socket))
      onConnection(socket)
    })
  }

  /** Binds; the port that it got. Rejects with the system's error. */
  listen(host: string, port: number): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject)
        const address = this.#server.address()
        if (address === null || typeof address === 'string') reject(new Error('the plaintext port has no address'))
        else resolve(address.port)
      })
    })
  }

  /** Destroys what is open; harmless when it never listened. */
  close(): void {
    this.#server.close()
    for (const socket of this.#open) socket.destroy()
  }
}
