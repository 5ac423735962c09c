import { hasGate } from '../engine/app-hooks.ts'
import type { Engine } from '../engine/engine.ts'
import type { Route } from '../engine/route.ts'
import type { CoalesceSpec, RouteSpec } from '../model/route.ts'
import type { HttpExchange } from './exchange.ts'
import type { LocalReply } from './local-reply.ts'

type Headers = Record<string, string | string[] | undefined>

/** Headers that make an answer one caller's own, or a part of it: not shared unless they are compared. */
const OWN = [
  'authorization',
  'cookie',
  'range',
  'if-match',
  'if-none-match',
  'if-modified-since',
  'if-unmodified-since',
  'if-range',
]

/**
 * Identical GETs that are under way at the same time share one answer: the first is sent, those that come before it is
 * answered wait for what it gets. Nothing is kept after that: this is no cache.
 */
export class Coalescer {
  /** Requests that were answered with another's answer, by cluster. */
  readonly shared = new Map<string, number>()
  private readonly flights = new WeakMap<RouteSpec, Map<string, Flight>>()

  /** @returns true = it waits for the answer to another */
  joins(exchange: HttpExchange, engine: Engine, route: Route): boolean {
    const spec = route.coalesce!
    const key = keyOf(exchange, spec)
    // A hook of the app may make of two equal requests two different ones.
    if (key === null || hasGate(route)) return false
    let table = this.flights.get(route.spec)
    if (table === undefined) {
      table = new Map()
      this.flights.set(route.spec, table)
    }
    const known = table.get(key)
    if (known === undefined) {
      const flight = new Flight(this, exchange, spec, () => {
        if (table.get(key) === flight) table.delete(key)
      })
      table.set(key, flight)
      exchange.flight = flight
      return false
    }
    return known.board(exchange, engine, route)
  }

  /** @internal */
  count({ cluster: { name } }: Route): void {
    this.shared.set(name, (this.shared.get(name) ?? 0) + 1)
  }
}

/** null = it is nobody else's business. */
function keyOf(exchange: HttpExchange, { varyHeaders }: CoalesceSpec): string | null {
  const { method, options } = exchange
  const hasBody = options.body !== null && options.body !== undefined
  if (method !== 'GET' || hasBody || options.upgrade !== undefined) return null
  for (const name of OWN) if (!varyHeaders.includes(name) && exchange.header(name) !== undefined) return null
  const values = varyHeaders.map((name) => exchange.header(name) ?? null)
  return JSON.stringify([exchange.authority, exchange.path, values])
}

interface Passenger {
  readonly engine: Engine
  readonly route: Route
}

/** One request that is sent, and those who wait for what it gets. */
export class Flight {
  private readonly coalescer: Coalescer
  private readonly leader: HttpExchange
  private readonly spec: CoalesceSpec
  private readonly close: () => void
  private readonly passengers = new Map<HttpExchange, Passenger>()
  private answer: { status: number; headers: Headers; rawHeaders: Buffer[] } | null = null
  private readonly chunks: Buffer[] = []
  private size = 0
  private open = true

  constructor(coalescer: Coalescer, leader: HttpExchange, spec: CoalesceSpec, close: () => void) {
    this.coalescer = coalescer
    this.leader = leader
    this.spec = spec
    this.close = close
  }

  board(exchange: HttpExchange, engine: Engine, route: Route): boolean {
    const until = this.leader.call?.deadline ?? 0
    // Who must have it earlier than the one that was sent does not wait for that one.
    if (exchange.callerDeadline < until) return false
    this.passengers.set(exchange, { engine, route })
    exchange.flight = this
    return true
  }

  /** The leader's reader is not waited for while others wait too; what is kept is bounded. */
  holdsBack(exchange: HttpExchange): boolean {
    return exchange !== this.leader || !this.open || this.passengers.size === 0
  }

  // What the leader gets.

  head(status: number, headers: Headers, rawHeaders: unknown): void {
    if (!this.open) return
    if (!Array.isArray(rawHeaders) || !isShareable(headers, this.spec)) {
      this.scatter(false)
      return
    }
    this.answer = { status, headers: { ...headers }, rawHeaders: rawHeaders.slice() as Buffer[] }
  }

  data(chunk: Buffer): void {
    if (!this.open) return
    this.size += chunk.length
    if (this.size > this.spec.maxBodyBytes) this.scatter(false)
    else this.chunks.push(chunk)
  }

  complete(): void {
    if (this.answer !== null) this.replied({ ...this.answer, body: Buffer.concat(this.chunks) })
  }

  /** An answer made here, a refusal above all, is everybody's. */
  replied(reply: LocalReply): void {
    if (!this.open) return
    this.shut()
    for (const [exchange, { route }] of this.take()) {
      this.coalescer.count(route)
      exchange.reply({ ...reply, headers: { ...reply.headers } })
    }
  }

  /** One of them is over. */
  over(exchange: HttpExchange, error: Error | null): void {
    if (exchange !== this.leader) {
      this.passengers.delete(exchange)
      return
    }
    if (!this.open) return
    // What its own caller did to it is none of the others' business; the first of them is sent now.
    if (error === null || exchange.aborted || exchange.causedByCaller(error)) {
      this.scatter(true)
      return
    }
    this.shut()
    for (const [passenger] of this.take()) passenger.fail(error)
  }

  /** Everybody is sent: `again` = together, else each alone. */
  private scatter(again: boolean): void {
    this.shut()
    this.chunks.length = 0
    for (const [exchange, { engine, route }] of this.take()) {
      if (!again || !this.coalescer.joins(exchange, engine, route)) exchange.runOn(engine, route)
    }
  }

  private shut(): void {
    this.open = false
    this.close()
    this.leader.unheld()
  }

  private take(): [HttpExchange, Passenger][] {
    const all = [...this.passengers]
    this.passengers.clear()
    for (const [exchange] of all) exchange.flight = null
    return all
  }
}

/** As a shared cache decides (RFC 9111 section 3), without regard to lifetimes: nothing lives longer than the request. */
function isShareable(headers: Headers, { varyHeaders }: CoalesceSpec): boolean {
  if (headers['set-cookie'] !== undefined) return false
  if (/(?:^|[\s,])(?:private|no-store)(?:[\s,=]|$)/i.test(String(headers['cache-control'] ?? ''))) return false
  const vary = String(headers.vary ?? '').toLowerCase()
  return vary === '' || vary.split(',').every((name) => varyHeaders.includes(name.trim()))
}
