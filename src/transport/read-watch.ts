import type { Socket } from 'node:net'

/** How often connections with open streams are looked at; whoever waits for a broken one waits so much longer. */
const LOOK_MS = 1_000

interface Handle {
  readStart?(): number
}

/**
 * Sees that a broken TLS connection under node:http2 ends. Where the peer resets it while data comes in, reading may have
 * stopped and is not started again (seen with Node 24.21): nobody hears of the reset, and streams without a deadline stay
 * open for ever. Reading is started again where nothing was read since the last look; on a connection that reads this does
 * nothing.
 *
 * @param busy whether anybody waits for it
 * @returns ends the watch
 */
export function watchReads(socket: Socket, busy: () => boolean): () => void {
  let seen = -1
  const timer = setInterval(() => {
    const { bytesRead } = socket
    // There is no public way to it; without one the watch does nothing.
    if (bytesRead === seen && busy()) (socket as { _handle?: Handle | null })._handle?.readStart?.()
    seen = bytesRead
  }, LOOK_MS).unref()
  return () => clearInterval(timer)
}
