import { create } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AdsHarness } from '../../test/support/ads-harness.ts'
import { anyOf, cluster, clusterInit, endpoints, listener, route } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { TypeUrl } from './proto.ts'

const badCluster = (name: string) => anyOf(ClusterSchema, { ...clusterInit(name), lbPolicy: LbPolicy.CLUSTER_PROVIDED })
const changed = (h: AdsHarness) =>
  h.actions.flatMap((a) => (a.kind === 'changed' ? [`${a.held.name} ${a.held.state}`] : []))

describe('the state-of-the-world client', () => {
  let h: AdsHarness
  beforeEach(() => {
    h = new AdsHarness()
    h.step({ kind: 'start' })
  })
  afterEach(() => expect(h.rules.breaches).toEqual([]))

  describe('rule 1: the node', () => {
    it('rides on the first request of a stream only, and again on the first of the next stream', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.subscribe(TypeUrl.listener, 'b')
      expect(h.requests.map((r) => r.node?.id)).toEqual(['node-1', undefined])
      h.end()
      h.wait(30_000)
      expect(h.requests.map((r) => r.node?.id)).toEqual(['node-1', undefined])
    })
  })

  describe('rule 2: ACK and NACK', () => {
    it('acknowledges with the version and nonce of the response', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      const nonce = h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      expect(h.last).toMatchObject({ versionInfo: 'v1', responseNonce: nonce, resourceNames: ['a'] })
      expect(h.last.errorDetail).toBeUndefined()
    })

    it('refuses with the previous good version, the nonce, INVALID_ARGUMENT and a text that names resource, field, reason', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      const nonce = h.respond(TypeUrl.cluster, 'v2', [badCluster('a')])
      expect(h.last).toMatchObject({ versionInfo: 'v1', responseNonce: nonce })
      expect(h.last.errorDetail).toMatchObject({
        code: 3,
        message: 'Cluster a: lb_policy: CLUSTER_PROVIDED is not supported',
      })
    })

    it('refuses a first response with an empty version', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
      expect(h.last.versionInfo).toBe('')
    })
  })

  describe('rule 3: one bad resource', () => {
    it('does not keep the good ones of its response from being used', () => {
      h.subscribe(TypeUrl.cluster, 'good', 'bad')
      h.respond(TypeUrl.cluster, 'v1', [cluster('good'), badCluster('bad')])
      expect(h.stateOf(TypeUrl.cluster, 'good')).toBe('ACKED')
      expect(h.stateOf(TypeUrl.cluster, 'bad')).toBe('NACKED')
      expect(h.last.errorDetail?.message).not.toContain('good')
    })

    it('leaves the last good version of itself in use', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      const before = h.state.held(TypeUrl.cluster, 'a')?.value
      h.respond(TypeUrl.cluster, 'v2', [badCluster('a')])
      expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'NACKED', version: 'v1', value: before })
    })

    it('names every bad resource of a response', () => {
      h.subscribe(TypeUrl.cluster, 'a', 'b')
      h.respond(TypeUrl.cluster, 'v1', [badCluster('a'), badCluster('b')])
      expect(h.last.errorDetail?.message).toMatch(/Cluster a: .*; Cluster b: /)
    })
  })

  describe('rule 4: nonces', () => {
    it('answers every response exactly once', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      for (let i = 0; i < 5; i++) h.respond(TypeUrl.endpoints, `v${i}`, [endpoints('a', `10.0.0.${i + 1}:80`)])
      expect(h.requests).toHaveLength(6)
      expect(h.rules.unanswered).toBe(0)
    })

    it('sends a change of names at once, with the latest nonce and the accepted version', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      const nonce = h.respond(TypeUrl.endpoints, 'v1', [endpoints('a')])
      h.subscribe(TypeUrl.endpoints, 'b')
      expect(h.last).toMatchObject({ versionInfo: 'v1', responseNonce: nonce, resourceNames: ['a', 'b'] })
    })

    it('keeps nonces of different types apart', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.subscribe(TypeUrl.endpoints, 'a')
      const clusters = h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.respond(TypeUrl.endpoints, 'e1', [endpoints('a')])
      h.subscribe(TypeUrl.cluster, 'b')
      expect(h.last).toMatchObject({ typeUrl: TypeUrl.cluster, responseNonce: clusters, versionInfo: 'v1' })
    })

    it('starts a new stream with an empty nonce and the version kept', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v7', [cluster('a')])
      h.end()
      h.wait(30_000)
      expect(h.streams).toBe(2)
      expect(h.requests).toHaveLength(1)
      expect(h.last).toMatchObject({ versionInfo: 'v7', responseNonce: '', resourceNames: ['a'] })
    })

    it('says nothing when names come and go between two requests', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.step({ kind: 'subscribe', typeUrl: TypeUrl.cluster, name: 'b' })
      h.step({ kind: 'unsubscribe', typeUrl: TypeUrl.cluster, name: 'b' })
      h.step({ kind: 'flush' })
      expect(h.requests).toHaveLength(1)
    })

    it('keeps what is dropped and taken up again before the server was told', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.step({ kind: 'unsubscribe', typeUrl: TypeUrl.cluster, name: 'a' })
      h.step({ kind: 'subscribe', typeUrl: TypeUrl.cluster, name: 'a' })
      h.step({ kind: 'flush' })
      expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('ACKED')
      expect(h.requests).toHaveLength(2)
    })
  })

  describe('rule 5: absence', () => {
    it('from an LDS or CDS response means deletion', () => {
      h.subscribe(TypeUrl.cluster, 'a', 'b')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a'), cluster('b')])
      h.respond(TypeUrl.cluster, 'v2', [cluster('b')])
      expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('DOES_NOT_EXIST')
      expect(h.stateOf(TypeUrl.cluster, 'b')).toBe('ACKED')
    })

    it('from an empty LDS response deletes all', () => {
      h.subscribe(TypeUrl.listener, 'a', 'b')
      h.respond(TypeUrl.listener, 'v1', [listener('a', 'r'), listener('b', 'r')])
      h.respond(TypeUrl.listener, 'v2', [])
      expect(['a', 'b'].map((n) => h.stateOf(TypeUrl.listener, n))).toEqual(['DOES_NOT_EXIST', 'DOES_NOT_EXIST'])
    })

    it.each([
      [TypeUrl.route, () => route('b', 'c')],
      [TypeUrl.endpoints, () => endpoints('b')],
    ])('from a response of %s means nothing', (typeUrl, other) => {
      const first = typeUrl === TypeUrl.route ? route('a', 'c') : endpoints('a')
      h.subscribe(typeUrl, 'a', 'b')
      h.respond(typeUrl, 'v1', [first])
      h.respond(typeUrl, 'v2', [other()])
      expect(h.stateOf(typeUrl, 'a')).toBe('ACKED')
    })

    it('of a resource that never came is not proof: the timer decides', () => {
      h.subscribe(TypeUrl.cluster, 'a', 'b')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      expect(h.stateOf(TypeUrl.cluster, 'b')).toBe('REQUESTED')
    })

    it('after a reconnect deletes what the first request named', () => {
      h.subscribe(TypeUrl.cluster, 'a', 'b')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a'), cluster('b')])
      h.end()
      h.wait(30_000)
      h.respond(TypeUrl.cluster, 'v2', [cluster('b')])
      expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('DOES_NOT_EXIST')
    })

    it('after a reconnect says nothing yet of a name that the server may not have seen', () => {
      h.subscribe(TypeUrl.cluster, 'a', 'b')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a'), cluster('b')])
      h.unsubscribe(TypeUrl.cluster, 'b')
      h.end()
      h.wait(30_000)
      h.step({ kind: 'subscribe', typeUrl: TypeUrl.cluster, name: 'c' })
      h.step({ kind: 'flush' })
      h.respond(TypeUrl.cluster, 'v2', [cluster('a')])
      expect(h.stateOf(TypeUrl.cluster, 'c')).toBe('REQUESTED')
      h.wait(15_000)
      expect(h.stateOf(TypeUrl.cluster, 'c')).toBe('DOES_NOT_EXIST')
    })

    it('does not delete anything when a resource of the response has no readable name', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.respond(TypeUrl.cluster, 'v2', [create(AnySchema, { typeUrl: TypeUrl.cluster, value: new Uint8Array([0xff]) })])
      expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'ACKED', version: 'v1' })
    })
  })

  describe('rule 6: the does-not-exist timer', () => {
    it('runs out 15 s after the request was sent', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      h.wait(14_999)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('REQUESTED')
      h.wait(1)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('DOES_NOT_EXIST')
      expect(changed(h)).toEqual(['a DOES_NOT_EXIST'])
    })

    it('does not run before the connection stands', () => {
      h.connected = false
      h.subscribe(TypeUrl.endpoints, 'a')
      h.wait(60_000)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('REQUESTED')
    })

    it('pauses while disconnected and starts anew with the next stream', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      h.wait(14_000)
      h.connected = false
      h.end()
      h.wait(20_000)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('REQUESTED')
      h.connected = true
      h.step({ kind: 'reconnect' })
      h.wait(14_999)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('REQUESTED')
      h.wait(1)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('DOES_NOT_EXIST')
    })

    it('is stopped by the resource, good or bad', () => {
      h.subscribe(TypeUrl.cluster, 'good', 'bad')
      h.respond(TypeUrl.cluster, 'v1', [cluster('good'), badCluster('bad')])
      h.wait(60_000)
      expect(h.stateOf(TypeUrl.cluster, 'good')).toBe('ACKED')
      expect(h.stateOf(TypeUrl.cluster, 'bad')).toBe('NACKED')
    })

    it('does not run for what is held when the stream is a new one', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      h.respond(TypeUrl.endpoints, 'v1', [endpoints('a')])
      h.end()
      h.wait(120_000)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('ACKED')
    })

    it('is not the last word: a resource that comes later exists', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      h.wait(15_000)
      h.respond(TypeUrl.endpoints, 'v1', [endpoints('a')])
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('ACKED')
    })
  })

  describe('rules 7 and 8: names', () => {
    it('never asks for everything: a stream without subscriptions carries no request', () => {
      h.step({ kind: 'flush' })
      h.wait(60_000)
      expect(h.requests).toEqual([])
    })

    it('unsubscribes by leaving the name out, and the last one by an empty list', () => {
      h.subscribe(TypeUrl.listener, 'a', 'b')
      h.unsubscribe(TypeUrl.listener, 'a')
      expect(h.last.resourceNames).toEqual(['b'])
      h.unsubscribe(TypeUrl.listener, 'b')
      expect(h.last.resourceNames).toEqual([])
    })

    it('does not mention a type without names on the next stream', () => {
      h.subscribe(TypeUrl.listener, 'a')
      h.unsubscribe(TypeUrl.listener, 'a')
      h.end()
      h.wait(30_000)
      expect(h.requests).toEqual([])
    })

    it('asks again for what was dropped and is wanted again, and uses what it had until that comes', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      h.respond(TypeUrl.endpoints, 'v1', [endpoints('a', '10.0.0.1:80')])
      h.unsubscribe(TypeUrl.endpoints, 'a')
      h.subscribe(TypeUrl.endpoints, 'a')
      expect(h.last.resourceNames).toEqual(['a'])
      expect(h.state.held(TypeUrl.endpoints, 'a')?.value).toMatchObject({ endpoints: [{}] })
      h.respond(TypeUrl.endpoints, 'v2', [endpoints('a')])
      expect(h.state.held(TypeUrl.endpoints, 'a')?.value).toMatchObject({ endpoints: [] })
    })

    it('keeps up what was just dropped: the server may never learn that it was gone', () => {
      h.subscribe(TypeUrl.endpoints, 'a', 'b')
      h.unsubscribe(TypeUrl.endpoints, 'a')
      // Sent before the server saw the request above, which it then ignores as stale.
      h.respond(TypeUrl.endpoints, 'v1', [endpoints('a', '10.0.0.1:80'), endpoints('b')])
      expect(changed(h)).toEqual(['b ACKED'])
      h.subscribe(TypeUrl.endpoints, 'a')
      h.wait(60_000)
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('ACKED')
    })

    it('starts afresh with what was dropped long ago', () => {
      h.subscribe(TypeUrl.endpoints, 'a')
      h.respond(TypeUrl.endpoints, 'v1', [endpoints('a')])
      h.unsubscribe(TypeUrl.endpoints, 'a')
      h.wait(30_000)
      h.subscribe(TypeUrl.endpoints, 'a')
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('REQUESTED')
    })
  })

  describe('rule 9: what is held', () => {
    it('stays when the stream is lost', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      const { value } = h.state.held(TypeUrl.cluster, 'a') ?? {}
      h.end()
      h.wait(3_600_000)
      expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'ACKED', value })
    })
  })

  describe('rule 10: back-off', () => {
    const delays = (n: number) =>
      Array.from({ length: n }, () => {
        h.end()
        const delay = h.state.deadline - h.now
        h.wait(delay)
        return Math.round(delay)
      })

    it('grows by 1.6 from 1 s to 30 s, with jitter', () => {
      // The random number is always one half: 0.55 of the first interval, 0.85 of later ones.
      expect(delays(11)).toEqual([550, 1360, 2176, 3482, 5571, 8913, 14261, 22817, 25500, 25500, 25500])
    })

    it('starts over as soon as a stream delivered a response', () => {
      delays(5)
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      expect(delays(1)).toEqual([550])
    })

    it('does not take a clean end after a response for an error', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.end(0, '')
      expect(h.state.lastError).toBe('')
      h.wait(30_000)
      h.end(0, '')
      expect(h.state.lastError).toContain('status 0')
    })

    it('is left out when a reconnect is asked for', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.actions = []
      h.step({ kind: 'reconnect' })
      expect(h.actions.map((a) => a.kind).slice(0, 3)).toEqual(['disconnect', 'connect', 'read'])
      expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('ACKED')
    })
  })

  describe('rule 12: equal resources', () => {
    it('are not news, and keep their object', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      const { value } = h.state.held(TypeUrl.cluster, 'a') ?? {}
      h.actions = []
      h.respond(TypeUrl.cluster, 'v2', [cluster('a')])
      expect(changed(h)).toEqual([])
      expect(h.state.held(TypeUrl.cluster, 'a')?.value).toBe(value)
      expect(h.state.held(TypeUrl.cluster, 'a')?.version).toBe('v2')
    })

    it('are news after a deletion', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.respond(TypeUrl.cluster, 'v2', [])
      h.actions = []
      h.respond(TypeUrl.cluster, 'v3', [cluster('a')])
      expect(changed(h)).toEqual(['a ACKED'])
      expect(h.state.held(TypeUrl.cluster, 'a')?.value).toBeDefined()
    })
  })
})
