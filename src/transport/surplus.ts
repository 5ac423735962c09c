import type { Duplex } from 'node:stream'

const SURPLUS = Symbol('inmesh.surplus')
type Marked = Duplex & { [SURPLUS]?: true }

/** One connection more than the server is to have: its first request is answered 503 UO, and it is closed. */
export function markSurplus(socket: Duplex): void {
  ;(socket as Marked)[SURPLUS] = true
}

export function isSurplus(socket: Duplex): boolean {
  return (socket as Marked)[SURPLUS] === true
}
