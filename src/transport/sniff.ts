import type { Socket } from 'node:net'

/** What the first bytes of a connection say; 'more' = too few to tell. */
export type FirstBytes = 'tls' | 'plaintext' | 'h2' | 'garbage' | 'more'

const HANDSHAKE_RECORD = 0x16
const PREFACE = Buffer.from('PRI ')
const MAX_RECORD = 16_384 + 256

/**
 * Tells a TLS ClientHello record (RFC 8446 section 5.1: type 0x16, legacy version 0x0301..0x0304, a possible length) from
 * the method of an HTTP/1 request line and from the preface of HTTP/2, which begins with "PRI" (RFC 9113 section 3.4). Everything else is nothing that a server of the mesh speaks.
 */
export function readFirstBytes(bytes: Uint8Array): FirstBytes {
  const first = bytes[0]
  if (first === undefined) return 'more'
  if (first !== HANDSHAKE_RECORD) return isLetter(first) ? readMethod(bytes) : 'garbage'
  if (bytes.length > 1 && bytes[1] !== 0x03) return 'garbage'
  if (bytes.length > 2 && (bytes[2]! < 1 || bytes[2]! > 4)) return 'garbage'
  if (bytes.length < 5) return 'more'
  const length = (bytes[3]! << 8) | bytes[4]!
  return length > 0 && length <= MAX_RECORD ? 'tls' : 'garbage'
}

/** No method begins with what HTTP/2 begins with. */
function readMethod(bytes: Uint8Array): FirstBytes {
  for (let i = 0; i < PREFACE.length; i++) {
    if (i === bytes.length) return 'more'
    if (bytes[i] !== PREFACE[i]) return 'plaintext'
  }
  return 'h2'
}

function isLetter(byte: number): boolean {
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x7a
}

/**
 * Waits for the first bytes of a new connection and gives them back to it: they are looked at here and parsed once, by
 * whoever gets the socket. A socket that stays silent for `timeoutMs`, ends or breaks before is destroyed, and
 * `decided` never called. 'garbage' is for the caller to act on.
 */
export function sniff(
  socket: Socket,
  timeoutMs: number,
  decided: (socket: Socket, kind: Exclude<FirstBytes, 'more'>) => void,
): void {
  let seen: Buffer | null = null
  const timer = setTimeout(() => socket.destroy(), timeoutMs)
  const stop = () => {
    clearTimeout(timer)
    socket.removeListener('readable', read)
    socket.removeListener('end', drop)
    socket.removeListener('close', stop)
  }
  const drop = () => socket.destroy()
  const read = () => {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) return
    seen = seen === null ? chunk : Buffer.concat([seen, chunk])
    const kind = readFirstBytes(seen)
    if (kind === 'more') return
    stop()
    socket.unshift(seen)
    decided(socket, kind)
  }
  socket.on('readable', read)
  socket.on('end', drop)
  socket.on('close', stop)
}
