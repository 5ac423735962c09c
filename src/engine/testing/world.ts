import type { ClusterSpec, EndpointSpec } from '../../model/cluster.ts'
import type { RouteSpec } from '../../model/route.ts'
import { Call } from '../call.ts'
import type { ClusterRuntime } from '../cluster.ts'
import { Engine } from '../engine.ts'
import type { CheckResult } from '../health.ts'
import type { HostLink, HostRuntime } from '../host.ts'
import type { Shadow } from '../mirror.ts'
import { TICK_MS } from '../time.ts'
import { Dice } from './dice.ts'
import { drawCluster, drawLb, drawRoute } from './draw.ts'
import { EventHeap } from './event-heap.ts'
import { Invariants, type Observed } from './invariants.ts'
import { healthy, type Mood, moods, type Script, scriptOf } from './peer.ts'
import { must } from './shadow.ts'
import { type SimEnv, SimExchange } from './sim-exchange.ts'
import { endpoint, listenerSpec, snapshotOf } from './specs.ts'

const Never = Number.POSITIVE_INFINITY
const SERVICE = 'svc'

class SimLink implements HostLink {
  readonly host: HostRuntime
  retired = 0
  constructor(host: HostRuntime) {
    this.host = host
  }
  retire(): void {
    this.retired++
  }
}

/** A process with its mesh, its peers and its callers, all drawn from one seed. The heap of events is clock and wires. */
export class World implements Observed, SimEnv {
  late = false
  stalledAt = Never
  resumedAt = -1
  readonly invariants: Invariants
  readonly engine: Engine
  private time: number
  private readonly dice: Dice
  private readonly heap = new EventHeap()
  private nextTick = Never
  private readonly links: SimLink[] = []
  private readonly clusters = new Map<string, ClusterSpec>()
  private readonly moodOf = new Map<string, Mood>()
  private readonly exchanges: SimExchange[] = []
  private readonly trouble: number
  private route: RouteSpec
  private healed = false
  private polling = false
  private nextAddress = 0

  constructor(seed: number) {
    const dice = new Dice(seed, 1)
    this.dice = dice
    this.time = dice.between(0, 100_000)
    this.trouble = dice.oneOf([0.05, 0.2, 0.5, 0.9])
    this.invariants = new Invariants(this)
    this.engine = new Engine({ clock: this, random: new Dice(seed, 2).random, events: this.invariants })
    this.engine.probe = (_cluster, host, _spec, done) => this.check(host, done)
    // In place of Node's timers.
    this.engine.wheel.host = {
      wake: () => {
        this.engine.wheel.skipTo(this.time)
        if (this.nextTick === Never) this.nextTick = this.time + dice.between(0.1, TICK_MS)
      },
      hold: () => undefined,
    }
    this.clusters.set('a', this.makeCluster('a'))
    if (dice.chance(0.3)) this.clusters.set('b', this.makeCluster('b'))
    this.route = drawRoute(this.dice, this.clusters.keys())
    this.apply()
  }

  now(): number {
    return this.time
  }

  specOf(cluster: ClusterRuntime): ClusterSpec | undefined {
    return this.engine.clusters.get(cluster.name) === cluster ? this.clusters.get(cluster.name) : undefined
  }

  after(ms: number, run: () => void): void {
    this.heap.push(this.time + ms, run)
  }

  scriptFor(host: HostRuntime): Script {
    const { dice } = this
    if (this.healed) return healthy
    return scriptOf(dice.chance(0.7) ? this.moodOf.get(host.address)! : this.drawMood(), dice)
  }

  linkOf(host: HostRuntime): HostLink {
    const link = new SimLink(host)
    this.links.push(link)
    return link
  }

  /** A health check: what it finds goes by the mood of the peer. */
  private check(host: HostRuntime, done: (result: CheckResult) => void): () => void {
    let givenUp = false
    const mood = this.healed ? 'ok' : this.moodOf.get(host.address)!
    this.after(this.healed ? 1 : this.dice.between(0, 300), () => {
      if (givenUp) return
      must(!host.gone, 'a host that left is still checked')
      done(mood === 'ok' || this.healed ? 'healthy' : mood === 'status' ? 'unhealthy' : 'failed')
    })
    return () => {
      givenUp = true
    }
  }

  shadow({ route }: Shadow, of: SimExchange): void {
    if (route === null) return
    const exchange = new SimExchange(this, SERVICE, of.idempotent, Never)
    this.exchanges.push(exchange)
    this.after(0, () => {
      exchange.call = new Call(this.engine, exchange, route)
      exchange.call.run()
    })
  }

  /** The whole story: trouble, then recovery, then rest. Throws {@link Violation}. */
  run(): void {
    const { dice } = this
    const begin = this.time
    const span = dice.oneOf([500, 5_000, 20_000])
    const at = (run: () => void) => this.heap.push(begin + dice.between(0, span), run)
    for (let i = dice.int(20, 80); i > 0; i--) at(() => this.call())
    for (let i = dice.int(0, 6); i > 0; i--) at(() => this.news())
    for (let i = dice.int(0, 2); i > 0; i--) at(() => this.stall(dice.oneOf([30, 200, 1_500])))
    for (let i = dice.int(0, 3); i > 0; i--) at(() => this.changeMood())
    this.advance(begin + span + 4_000)
    this.recover()
    this.rest()
  }

  private call(inside = false): void {
    const { dice, engine } = this
    const idempotent = dice.chance(0.6)
    const callerDeadline = dice.chance(0.2) ? this.time + dice.between(-5, 2_000) : Never
    const exchange = new SimExchange(this, SERVICE, idempotent, callerDeadline)
    if (dice.chance(0.8)) exchange.key = `user-${dice.int(1, 5)}`
    this.exchanges.push(exchange)
    if (dice.chance(0.2))
      this.after(dice.oneOf([0, dice.between(0, 100)]), () => {
        exchange.replayable = false
      })
    if (dice.chance(0.2)) exchange.hedgeable = false
    // Its own answer is on its way: nobody waits for its head any more.
    if (dice.chance(0.1))
      this.after(dice.between(0, 1_500), () => {
        exchange.callerDeadline = Never
      })
    if (dice.chance(0.1)) exchange.tree = { repeated: dice.chance(0.5), settle() {} }
    if (dice.chance(0.1)) this.after(dice.between(0, 500), () => exchange.cancel())
    if (!inside && dice.chance(0.1)) exchange.whenRejected = () => this.call(true)
    this.start(exchange)
    must(engine.clusters.size > 0, 'the engine lost its clusters')
  }

  private start(exchange: SimExchange): void {
    const { engine } = this
    const target = engine.outbound(SERVICE)!.match(exchange, engine.random)
    if (target.kind !== 'route') return
    exchange.call = new Call(engine, exchange, target)
    exchange.call.run()
  }

  // The clock.

  private advance(until: number): void {
    while (Math.min(this.heap.nextAt, this.nextTick) <= until) {
      if (this.nextTick <= this.heap.nextAt) this.tick()
      else this.pop()
      this.invariants.step(this.time)
    }
    this.time = Math.max(this.time, until)
  }

  private pop(): void {
    this.time = Math.max(this.time, this.heap.nextAt)
    this.heap.pop()()
  }

  private tick(): void {
    const { wheel } = this.engine
    this.time = Math.max(this.time, this.nextTick)
    if (!wheel.tick(this.time)) {
      // The poll phase has its turn: what lies in socket buffers is read.
      this.polling = true
      while (this.heap.nextAt <= this.time) {
        this.pop()
        this.invariants.step(this.time)
      }
      this.polling = false
      this.late = true
      wheel.tick(this.time, true)
      this.invariants.step(this.time)
      this.late = false
    }
    this.nextTick = wheel.size === 0 ? Never : this.time + TICK_MS + this.dice.between(0, 2)
  }

  private stall(ms: number): void {
    if (this.polling) return
    this.stalledAt = Math.min(this.stalledAt, this.time)
    this.time += ms
    this.resumedAt = this.time
  }

  // The end.

  private recover(): void {
    this.healed = true
    // What is injected stays injected until somebody takes it out.
    this.route = { ...this.route, fault: null }
    this.apply()
    this.advance(this.time + 30_000)
    for (const exchange of this.exchanges) exchange.cancel()
    this.invariants.step(this.time)
    this.advance(this.time + 10_000)
    for (const [name, spec] of this.clusters) if (spec.breaker !== null) this.closes(name)
    for (const { hosts } of this.engine.clusters.values())
      for (const host of hosts) must(!host.checkFailed, 'a host that is well again fails its checks')
    for (const [name, spec] of this.clusters) this.clusters.set(name, { ...spec, healthChecks: [] })
    this.apply()
    this.advance(this.time + 30_000)
  }

  /** A breaker that opened closes once its peers are well. */
  private closes(name: string): void {
    const runtime = this.engine.clusters.get(name)!
    const { breaker } = runtime
    if (breaker === null || runtime.usable.length === 0) return
    for (let i = 0; i < 60 && breaker.state !== 'closed'; i++) {
      this.advance(Math.max(breaker.openUntil, this.time + 10))
      const exchange = new SimExchange(this, SERVICE, true, Never)
      this.exchanges.push(exchange)
      this.start(exchange)
      this.advance(this.time + 100)
      exchange.cancel()
    }
    const routed = this.route.action.kind === 'forward' && this.route.action.clusters.some((c) => c.name === name)
    must(!routed || breaker.state === 'closed', 'the breaker never closed again')
  }

  private rest(): void {
    const { wheel } = this.engine
    must(this.invariants.callsUnderWay === 0, 'a call never ended')
    must(wheel.size === 0, `${wheel.size} timers are armed though nothing is under way`)
    const current = new Set<HostRuntime>()
    for (const cluster of this.engine.clusters.values()) for (const host of cluster.hosts) current.add(host)
    for (const cluster of this.invariants.seenClusters) {
      must(cluster.active === 0 && cluster.retrying === 0, 'a cluster counts what is not there')
      for (const part of [cluster.limit, cluster.breaker, cluster.budget])
        for (const [name, value] of Object.entries(part ?? {}))
          if (name === 'calls' || name === 'retrying') must(value === 0, `${name} is ${value} at rest`)
      for (const host of cluster.hosts) must(host.active === 0 && host.ejectedUntil === 0, 'a host counts, or is out')
    }
    for (const { host, retired } of this.links) {
      if (current.has(host)) must(retired === 0, 'the connections of a living host were retired')
      else must(retired === 1, `the connections of a host that left were retired ${retired} times`)
    }
    for (const exchange of this.exchanges)
      for (const a of exchange.attempts) must(a.reportedEnd || a.aborts === 1, 'an attempt was given up and left alone')
  }

  // What changes.

  private changeMood(): void {
    for (const address of this.moodOf.keys()) if (this.dice.chance(0.5)) this.moodOf.set(address, this.drawMood())
  }

  private news(): void {
    const { dice, clusters } = this
    const name = dice.oneOf([...clusters.keys()])
    const spec = clusters.get(name)!
    const roll = dice.int(0, 9)
    if (roll < 6) clusters.set(name, { ...spec, endpoints: this.changed(spec.endpoints) })
    else if (roll === 6) clusters.set(name, { ...spec, lb: drawLb(dice) })
    else if (roll === 7) this.route = drawRoute(this.dice, this.clusters.keys())
    else if (clusters.size > 1) clusters.delete(name)
    else clusters.set(name === 'a' ? 'b' : 'a', this.makeCluster(name === 'a' ? 'b' : 'a'))
    if (roll > 7) this.route = drawRoute(this.dice, this.clusters.keys())
    this.apply()
    // What flaps is back before anybody noticed.
    if (roll < 6 && dice.chance(0.4))
      this.after(dice.between(0, 300), () => {
        if (!clusters.has(name)) return
        clusters.set(name, { ...clusters.get(name)!, endpoints: spec.endpoints })
        this.apply()
      })
  }

  private apply(): void {
    this.engine.apply(snapshotOf([listenerSpec(SERVICE, [this.route])], [...this.clusters.values()]))
  }

  private changed(before: readonly EndpointSpec[]): EndpointSpec[] {
    const { dice } = this
    const kept = before
      .filter(() => dice.chance(0.7))
      .map(
        (e): EndpointSpec =>
          dice.chance(0.2) ? { ...e, health: dice.oneOf(['HEALTHY', 'UNHEALTHY', 'DRAINING']) } : e,
      )
    return [...kept, ...this.drawEndpoints(dice.int(0, 2))]
  }

  // What is drawn.

  private drawMood(): Mood {
    return this.dice.chance(this.trouble) ? this.dice.oneOf(moods) : 'ok'
  }

  private makeCluster(name: string): ClusterSpec {
    const { dice } = this
    return { ...drawCluster(dice, name), endpoints: this.drawEndpoints(dice.int(1, 5)) }
  }

  private drawEndpoints(count: number): EndpointSpec[] {
    const { dice } = this
    const weighted = dice.chance(0.3)
    const levels = dice.chance(0.2) ? 1 : 0
    return Array.from({ length: count }, () => {
      const made = endpoint(this.nextAddress++, {
        weight: weighted ? dice.int(1, 5) : 1,
        priority: dice.int(0, levels),
        locality: dice.oneOf(['r/a/', 'r/b/']),
        localityWeight: 2,
        health: dice.chance(0.1) ? 'UNHEALTHY' : 'HEALTHY',
      })
      this.moodOf.set(`${made.address}|${made.port}`, this.drawMood())
      return made
    })
  }
}
