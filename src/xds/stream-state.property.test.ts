import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AdsRules } from '../../test/support/ads-rules.ts'
import { anyOf, cluster, clusterInit, endpoints } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../gen/envoy/config/endpoint/v3/endpoint_pb.js'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import { TypeUrl } from './proto.ts'
import { type AdsEvent, AdsState } from './stream-state.ts'

const names = ['a', 'b', 'c'] as const
const types = [TypeUrl.cluster, TypeUrl.endpoints] as const
type Type = (typeof types)[number]

/** Content 0 is refused by every client; the others are valid and differ. */
function resource(type: Type, name: string, content: number): Any {
  if (type === TypeUrl.cluster)
    return content === 0
      ? anyOf(ClusterSchema, { ...clusterInit(name), lbPolicy: LbPolicy.CLUSTER_PROVIDED })
      : cluster(name, `eds-${content}`)
  return content === 0
    ? anyOf(ClusterLoadAssignmentSchema, { clusterName: name, endpoints: [{ priority: 7 }] })
    : endpoints(name, `10.0.0.${content}:80`)
}

/** A server as simple as the protocol allows: answers when names grow or content changes, whole types at a time. */
class ModelServer {
  readonly content = new Map<string, number>()
  readonly #streams = new Map<Type, { names: string[]; sent: Map<string, number>; nonce: number; version: number }>()
  readonly toClient: Uint8Array[] = []
  rules = new AdsRules()
  #version = 0

  newStream(): void {
    this.#streams.clear()
    this.toClient.length = 0
    this.rules = new AdsRules()
  }

  set(type: Type, name: string, content: number | null): void {
    if (content === null) this.content.delete(`${type} ${name}`)
    else this.content.set(`${type} ${name}`, content)
    this.#version++
    this.#push(type)
  }

  receive(request: DiscoveryRequest): void {
    this.rules.requestSeen(request)
    const type = request.typeUrl as Type
    const stream = this.#streams.get(type)
    if (stream === undefined) {
      this.#streams.set(type, { names: request.resourceNames, sent: new Map(), nonce: 0, version: -1 })
      this.#push(type, true)
      return
    }
    if (request.responseNonce !== '' && request.responseNonce !== `${stream.nonce}`) return
    for (const name of stream.sent.keys()) if (!request.resourceNames.includes(name)) stream.sent.delete(name)
    const grew = request.resourceNames.some((name) => !stream.names.includes(name))
    stream.names = request.resourceNames
    if (grew) this.#push(type, true)
  }

  #push(type: Type, force = false): void {
    const stream = this.#streams.get(type)
    if (stream === undefined || stream.names.length === 0) return
    const fullState = type === TypeUrl.cluster
    const current = stream.names.flatMap((name) => {
      const content = this.content.get(`${type} ${name}`)
      return content === undefined ? [] : [{ name, content }]
    })
    const changed = current.filter(({ name, content }) => stream.sent.get(name) !== content)
    const gone = [...stream.sent.keys()].filter((name) => !current.some((c) => c.name === name))
    if (!force && changed.length === 0 && (!fullState || gone.length === 0)) return
    if (force && !fullState && changed.length === 0) return
    for (const name of gone) stream.sent.delete(name)
    for (const { name, content } of current) stream.sent.set(name, content)
    const nonce = `${++stream.nonce}`
    const versionInfo = `v${this.#version}`
    this.rules.responseSent(type, versionInfo, nonce)
    const resources = (fullState ? current : changed).map(({ name, content }) => resource(type, name, content))
    this.toClient.push(
      toBinary(
        DiscoveryResponseSchema,
        create(DiscoveryResponseSchema, { typeUrl: type, versionInfo, nonce, resources }),
      ),
    )
  }
}

const typeOf = fc.constantFrom(...types)
const nameOf = fc.constantFrom(...names)
const operation = fc.oneof(
  fc.record({ do: fc.constantFrom('subscribe' as const, 'unsubscribe' as const), type: typeOf, name: nameOf }),
  fc.record({ do: fc.constant('set' as const), type: typeOf, name: nameOf, content: fc.option(fc.nat(3)) }),
  fc.record({
    do: fc.constantFrom('flush' as const, 'up' as const, 'down' as const, 'break' as const, 'reconnect' as const),
  }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.nat(20_000) }),
)

describe('client and server after any history', () => {
  it('agree on every subscribed resource once all messages arrived', () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 80, size: 'max' }), (operations) => {
        const world = new World()
        world.step({ kind: 'start' })
        for (const op of operations) world.apply(op)
        world.settle()
        expect(world.server.rules.breaches).toEqual([])
        expect(world.server.rules.unanswered).toBe(0)
        for (const type of types)
          for (const name of world.wanted(type))
            expect(world.view(type, name), `${type} ${name}`).toBe(world.truth(type, name))
      }),
      { numRuns: 1_000 },
    )
  })
})

/** Both ends and the wires between them, which deliver in order but only when asked. */
class World {
  readonly server = new ModelServer()
  readonly #client = new AdsState({ node: { id: 'n' }, random: { u32: () => 0 } })
  readonly #wanted = new Map<Type, Set<string>>(types.map((t) => [t, new Set()]))
  #toServer: { bytes: Uint8Array; request: { typeUrl: string; names: readonly string[] } }[] = []
  #reads = 0
  #up = false
  #now = 0
  /** When no message was under way. */
  #delivered = 0

  apply(op: typeof operation extends fc.Arbitrary<infer T> ? T : never): void {
    switch (op.do) {
      case 'subscribe':
        this.wanted(op.type).add(op.name)
        this.step({ kind: 'subscribe', typeUrl: op.type, name: op.name })
        return
      case 'unsubscribe':
        this.wanted(op.type).delete(op.name)
        this.step({ kind: 'unsubscribe', typeUrl: op.type, name: op.name })
        return
      case 'set':
        this.server.set(op.type, op.name, op.content)
        return
      case 'flush':
      case 'reconnect':
        this.step({ kind: op.do })
        return
      case 'up':
        this.#toTheServer()
        return
      case 'down':
        this.#toTheClient()
        return
      case 'break':
        if (this.#up) this.step({ kind: 'ended', end: { code: 14, details: 'broken' } })
        this.#up = false
        return
      case 'wait':
        // No message is under way for longer than keepalive allows.
        if (this.#now + op.ms - this.#delivered > 15_000) this.#deliverAll()
        this.#wait(op.ms)
        return
    }
  }

  wanted(type: Type): Set<string> {
    return this.#wanted.get(type) ?? new Set()
  }

  step(event: AdsEvent): void {
    for (const action of this.#client.step(event, this.#now)) {
      if (action.kind === 'connect') {
        this.server.newStream()
        this.#toServer = []
        this.#reads = 0
        this.#up = true
      } else if (action.kind === 'send') this.#toServer.push(action)
      else if (action.kind === 'read') this.#reads++
      expect(this.#reads).toBeLessThanOrEqual(1)
    }
  }

  /** Delivers everything, long enough for every timer. */
  settle(): void {
    this.step({ kind: 'flush' })
    for (let i = 0; i < 8; i++) {
      this.#deliverAll()
      this.#wait(31_000)
      this.#deliverAll()
    }
  }

  /** What the client believes: the content, "none", or "refused". */
  view(type: Type, name: string): string {
    const held = this.#client.held(type, name)
    if (held?.state === 'NACKED') return 'refused'
    if (held?.state === 'DOES_NOT_EXIST') return 'none'
    return `${held?.state} ${Buffer.from(held?.bytes ?? []).toString('hex')}`
  }

  truth(type: Type, name: string): string {
    const content = this.server.content.get(`${type} ${name}`)
    // EDS has no way to say "deleted" to one who has it.
    if (content === undefined)
      return type === TypeUrl.cluster || this.view(type, name) === 'none' ? 'none' : this.view(type, name)
    return content === 0 ? 'refused' : `ACKED ${Buffer.from(resource(type, name, content).value).toString('hex')}`
  }

  #deliverAll(): void {
    this.#delivered = this.#now
    while (this.#up && (this.#toServer.length > 0 || (this.#reads > 0 && this.server.toClient.length > 0))) {
      this.#toTheServer()
      this.#toTheClient()
    }
  }

  #toTheServer(): void {
    const message = this.#toServer.shift()
    if (message === undefined || !this.#up) return
    this.step({ kind: 'sent', request: message.request })
    this.server.receive(fromBinary(DiscoveryRequestSchema, message.bytes))
  }

  #toTheClient(): void {
    if (this.#reads === 0 || !this.#up) return
    const bytes = this.server.toClient.shift()
    if (bytes === undefined) return
    this.#reads--
    this.step({ kind: 'response', bytes })
    this.step({ kind: 'flush' })
  }

  #wait(ms: number): void {
    const until = this.#now + ms
    while (this.#client.deadline <= until) {
      this.#now = Math.max(this.#now, this.#client.deadline)
      this.step({ kind: 'tick' })
    }
    this.#now = until
  }
}
