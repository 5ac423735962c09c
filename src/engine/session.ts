import { Buffer } from 'node:buffer'
import type { SessionSpec } from '../model/route.ts'
import type { Call } from './call.ts'
import { endOfPath } from './compile-match.ts'
import type { RequestView } from './exchange.ts'
import type { FormatView, ResponseHeaders } from './format.ts'
import { cookieOf } from './hash-policy.ts'
import type { HostRuntime } from './host.ts'
import type { ResponseEdits } from './route.ts'

/** Longer cookies are none of ours. Characters. */
const LONGEST = 1_024

/** Where a request says that it belongs. */
export interface Seat {
  /** "IP:port", "[IPv6]:port". */
  readonly addresses: readonly string[]
  /** '' = not said. */
  readonly cluster: string
}

/**
 * Sessions that stay with a host by a cookie which names it (Envoy stateful_session; gRFC A55, A60, A75). Value: base64 of the
 * host's addresses with commas, ";" and its cluster.
 */
export class Session {
  private readonly spec: SessionSpec

  constructor(spec: SessionSpec) {
    this.spec = spec
  }

  /** null = the request says nothing that could be understood, or the cookie is for other paths. */
  seatOf(request: RequestView): Seat | null {
    if (!pathMatches(this.spec.path, request.path.slice(0, endOfPath(request.path)))) return null
    const value = cookieOf(request.header('cookie'), this.spec.cookie)
    if (value === null || value.length > LONGEST) return null
    const [addresses = '', cluster = ''] = Buffer.from(value, 'base64').toString().split(';')
    return addresses === '' ? null : { addresses: addresses.split(','), cluster }
  }

  /** The host of the call's cluster that it belongs to; null = none, or it is gone. */
  hostOf(call: Call): HostRuntime | null {
    const seat = this.seatOf(call.exchange)
    if (seat === null) return null
    for (const address of seat.addresses) {
      const host = call.cluster.hostAt(address)
      if (host !== undefined) return host
    }
    return null
  }

  /** Set-Cookie for the host that answered; null = the caller has it already, or the cookie is for other paths. */
  cookieFor(call: Call): string | null {
    const { cookie, ttlMs, path } = this.spec
    const host = call.winner?.host
    if (host === undefined || !pathMatches(path, call.exchange.path.slice(0, endOfPath(call.exchange.path))))
      return null
    const seat = this.seatOf(call.exchange)
    const address = textOf(host)
    if (seat?.addresses.includes(address) && seat.cluster === call.cluster.name) return null
    const value = Buffer.from(`${address};${call.cluster.name}`).toString('base64')
    const age = ttlMs > 0 ? `; Max-Age=${Math.floor(ttlMs / 1_000)}` : ''
    const where = path === '' ? '' : `; Path=${path}`
    return `${cookie}=${value}${age}${where}; HttpOnly`
  }
}

/** Gives callers the cookie of the host that answered. */
export function compileSessionCookie(spec: SessionSpec | null | undefined): ResponseEdits | null {
  if (spec == null) return null
  const session = new Session(spec)
  return {
    names: ['set-cookie'],
    apply(headers: ResponseHeaders, { call }: FormatView) {
      const cookie = call === null ? null : session.cookieFor(call)
      if (cookie === null) return false
      headers['set-cookie'] = [headers['set-cookie'] ?? [], cookie].flat()
      return true
    },
  }
}

function textOf({ spec: { address, port } }: HostRuntime): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** RFC 6265, section 5.1.4. '' = every path. */
function pathMatches(cookiePath: string, path: string): boolean {
  if (cookiePath === '' || path === cookiePath) return true
  return path.startsWith(cookiePath) && (cookiePath.endsWith('/') || path[cookiePath.length] === '/')
}
