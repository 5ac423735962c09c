import { AsyncLocalStorage } from 'node:async_hooks'
import { TimerNode, type TimerWheel } from '../engine/time.ts'

/** What waits: it knows what configuration it waits for. */
export interface Holdable {
  readonly authority: string
}

/** Calls that wait for the configuration of their authority. */
export class HeldCalls<T extends Holdable> {
  private readonly wheel: TimerWheel
  private readonly tooLong: (exchange: T) => void
  private readonly byAuthority = new Map<string, Map<T, Held<T>>>()

  constructor(wheel: TimerWheel, tooLong: (exchange: T) => void) {
    this.wheel = wheel
    this.tooLong = tooLong
  }

  get authorities(): readonly string[] {
    return [...this.byAuthority.keys()]
  }

  /** @returns it is the first of its authority: configuration must be asked for */
  add(exchange: T, until: number): boolean {
    const held = new Held<T>(exchange, this.tooLong)
    this.wheel.arm(held, until)
    const waiting = this.byAuthority.get(exchange.authority)
    if (waiting === undefined) this.byAuthority.set(exchange.authority, new Map([[exchange, held]]))
    else waiting.set(exchange, held)
    return waiting === undefined
  }

  /** The call ended otherwise. */
  remove(exchange: T): void {
    const waiting = this.byAuthority.get(exchange.authority)
    const held = waiting?.get(exchange)
    if (waiting === undefined || held === undefined) return
    this.wheel.disarm(held)
    waiting.delete(exchange)
    if (waiting.size === 0) this.byAuthority.delete(exchange.authority)
  }

  /** Lets all calls of an authority go on, each in the context of whoever made it: its trace hangs on that. */
  release(authority: string, goOn: (exchange: T) => void): void {
    const waiting = this.byAuthority.get(authority)
    if (waiting === undefined) return
    this.byAuthority.delete(authority)
    for (const [exchange, held] of waiting) {
      this.wheel.disarm(held)
      held.scope(() => goOn(exchange))
    }
  }
}

class Held<T> extends TimerNode {
  readonly scope = AsyncLocalStorage.snapshot()
  private readonly exchange: T
  private readonly tooLong: (exchange: T) => void

  constructor(exchange: T, tooLong: (exchange: T) => void) {
    super()
    this.exchange = exchange
    this.tooLong = tooLong
  }

  override fire(): void {
    this.tooLong(this.exchange)
  }
}
