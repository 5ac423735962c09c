import { type Clock, type Random, systemClock } from '../model/clock.ts'
import { type InboundSpec, shedDefaults } from '../model/inbound.ts'
import { systemRandom } from './random.ts'
import { RateLimit } from './rate-limit.ts'
import { Shed } from './shed.ts'
import { TimerWheel } from './time.ts'

/** What the way in takes from the process. */
export interface InboundEnv {
  readonly clock: Clock
  readonly random: Random
  readonly wheel: TimerWheel
}

/**
 * What a server counts. One for each listener name; it outlives new versions of the configuration, so that a change of
 * rules refills no bucket and forgets no request that is under way.
 */
export class InboundRuntime {
  readonly env: InboundEnv
  /** null = load is never shed. */
  shed: Shed | null = null
  /** In the order of the spec. */
  limits: readonly RateLimit[] = []
  /** Requests under way, where their number is limited. */
  requests = 0
  /** Faults that are being injected. */
  faults = 0
  private readonly chains: InboundRuntime[] = []

  constructor(env: InboundEnv = { clock: systemClock, random: systemRandom, wheel: new TimerWheel() }) {
    this.env = env
  }

  /** Of one chain of a server whose rules differ by connection. */
  ofChain(index: number): InboundRuntime {
    const chain = this.chains[index] ?? new InboundRuntime(this.env)
    this.chains[index] = chain
    return chain
  }

  update(spec: InboundSpec): void {
    const shed = spec.shed ?? shedDefaults
    if (!shed.enabled) this.shed = null
    else if (this.shed === null) this.shed = new Shed(shed)
    else this.shed.update(shed)
    const before = new Map(this.limits.map((limit) => [limit.spec.name, limit]))
    const now = this.env.clock.now()
    this.limits = spec.rateLimits.map((limit) => {
      const old = before.get(limit.name)
      before.delete(limit.name)
      return old === undefined ? new RateLimit(limit, now) : old.next(limit, now)
    })
  }
}
