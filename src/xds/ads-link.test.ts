import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { cluster } from '../../test/support/xds-resources.ts'
import {
  type DiscoveryRequest,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import { silentLogger } from '../model/logger.ts'
import type { Stream, StreamHandlers, Transport } from '../model/transport.ts'
import { AdsLink } from './ads-link.ts'
import { TypeUrl } from './proto.ts'

/** A server in memory: away, silent (takes streams and says nothing), or answering. */
class Peer {
  state: 'away' | 'silent' | 'up' = 'up'
  readonly name: string
  readonly requests: DiscoveryRequest[] = []
  readonly open = new Set<StreamHandlers>()
  #nonce = 0

  constructor(name: string) {
    this.name = name
  }

  get transport(): Transport {
    return { open: (_method, handlers) => this.#open(handlers) }
  }

  /** Cuts all streams, and takes no more. */
  leave(): void {
    this.state = 'away'
    for (const handlers of this.open) this.#end(handlers)
  }

  #end(handlers: StreamHandlers): void {
    if (this.open.delete(handlers)) handlers.ended({ code: 14, details: `${this.name} is away` })
  }

  #open(handlers: StreamHandlers): Stream {
    this.open.add(handlers)
    if (this.state === 'away') queueMicrotask(() => this.#end(handlers))
    return {
      send: (bytes, sent) => {
        if (!this.open.has(handlers) || this.state === 'away') return
        sent?.()
        const request = fromBinary(DiscoveryRequestSchema, bytes)
        this.requests.push(request)
        if (this.state === 'up' && request.responseNonce === '') queueMicrotask(() => this.#answer(handlers, request))
      },
      read: () => undefined,
      halfClose: () => undefined,
      cancel: () => this.open.delete(handlers),
    }
  }

  /** Every cluster that is asked for, with the server's name as version. */
  #answer(handlers: StreamHandlers, { typeUrl, resourceNames }: DiscoveryRequest): void {
    if (!this.open.has(handlers)) return
    const response = create(DiscoveryResponseSchema, {
      typeUrl,
      versionInfo: this.name,
      nonce: `n${++this.#nonce}`,
      resources: resourceNames.map((name) => cluster(name)),
    })
    handlers.message(toBinary(DiscoveryResponseSchema, response))
  }
}

let peers: [Peer, Peer, Peer]
let link: AdsLink

const start = (...names: string[]) => {
  link.step({ kind: 'start' })
  for (const name of names) link.step({ kind: 'subscribe', typeUrl: TypeUrl.cluster, name })
  link.step({ kind: 'flush' })
}
/** Whom the link listens to, and whose answer it holds. */
const standing = (name = 'c') => `${link.server.name} ${link.state.held(TypeUrl.cluster, name)?.version || 'nothing'}`
const streams = () => peers.map((peer) => peer.open.size)
/** Longer than any back-off. */
const wait = () => vi.advanceTimersByTimeAsync(40_000)
const turn = () => vi.advanceTimersByTimeAsync(0)

beforeEach(() => {
  vi.useFakeTimers()
  peers = [new Peer('first'), new Peer('second'), new Peer('third')]
  const nothing = () => undefined
  link = new AdsLink({
    node: { id: 'n' },
    servers: peers.map(({ name, transport }) => ({ name, transport })),
    clock: { now: () => Date.now() },
    random: { u32: () => 2 ** 31 },
    logger: silentLogger,
    changed: nothing,
    nack: nothing,
    connection: nothing,
  })
})

afterEach(() => {
  link.close()
  vi.useRealTimers()
})

describe('several xDS servers (A71)', () => {
  it('are not asked while the first one answers', async () => {
    start('c')
    await wait()
    expect(standing()).toBe('first first')
    expect(streams()).toEqual([1, 0, 0])
    expect(peers[1].requests).toEqual([])
  })

  it('are asked one after the other while those before are away, and given up for the best that is back', async () => {
    for (const peer of peers) peer.state = 'away'
    peers[2].state = 'up'
    start('c')
    await turn()
    expect(standing()).toBe('third third')
    peers[1].state = 'up'
    await wait()
    expect(standing()).toBe('second second')
    expect(streams()).toEqual([0, 1, 0])
    peers[0].state = 'up'
    await wait()
    expect(standing()).toBe('first first')
    expect(streams()).toEqual([1, 0, 0])
    // Nobody goes on asking after those that come later.
    const asked = peers.map((peer) => peer.requests.length)
    await wait()
    expect(peers.map((peer) => peer.requests.length)).toEqual(asked)
  })

  it('are not given up for one that takes connections and says nothing', async () => {
    peers[0].state = 'away'
    start('c')
    await turn()
    peers[0].state = 'silent'
    await wait()
    expect(standing()).toBe('second second')
    peers[0].leave()
    peers[0].state = 'up'
    await wait()
    expect(standing()).toBe('first first')
  })

  it('are not asked for what is known, but for the first thing that is not', async () => {
    start('c')
    await turn()
    peers[0].leave()
    await wait()
    expect(standing()).toBe('first first')
    expect(peers[1].requests).toEqual([])
    link.step({ kind: 'subscribe', typeUrl: TypeUrl.cluster, name: 'd' })
    link.step({ kind: 'flush' })
    await turn()
    expect(standing('d')).toBe('second second')
    // The whole of what is needed is asked there, by a stream without a past.
    expect(peers[1].requests[0]).toMatchObject({ resourceNames: ['c', 'd'], versionInfo: '', node: { id: 'n' } })
  })

  it('are all tried for ever when none is there', async () => {
    for (const peer of peers) peer.state = 'away'
    start('c')
    await wait()
    expect(standing()).toBe('third nothing')
    peers[0].state = 'up'
    await wait()
    expect(standing()).toBe('first first')
  })

  it('leave nothing running when the client is closed', async () => {
    peers[0].state = 'away'
    start('c')
    await turn()
    link.close()
    peers[0].state = 'up'
    await wait()
    expect(streams()).toEqual([0, 0, 0])
    expect(vi.getTimerCount()).toBe(0)
  })
})
