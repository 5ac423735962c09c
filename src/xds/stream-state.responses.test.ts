import { create } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AdsHarness } from '../../test/support/ads-harness.ts'
import { anyOf, cluster, clusterInit, endpoints, listener, route } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ResourceSchema } from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import { TypeUrl } from './proto.ts'
import { MAX_RESOURCE_BYTES } from './resources/resource-type.ts'

const badCluster = (name: string) => anyOf(ClusterSchema, { ...clusterInit(name), lbPolicy: LbPolicy.CLUSTER_PROVIDED })

describe('the state-of-the-world client', () => {
  let h: AdsHarness
  beforeEach(() => {
    h = new AdsHarness()
    h.step({ kind: 'start' })
  })
  afterEach(() => expect(h.rules.breaches).toEqual([]))

  describe('rule 13: odd responses', () => {
    it('refuses a name that appears twice, and uses the others', () => {
      h.subscribe(TypeUrl.endpoints, 'a', 'b')
      h.respond(TypeUrl.endpoints, 'v1', [endpoints('a', '10.0.0.1:1'), endpoints('b'), endpoints('a', '10.0.0.2:1')])
      expect(h.last.errorDetail?.message).toBe('ClusterLoadAssignment a: appears twice in the response')
      expect(h.stateOf(TypeUrl.endpoints, 'a')).toBe('NACKED')
      expect(h.stateOf(TypeUrl.endpoints, 'b')).toBe('ACKED')
    })

    it('ignores names that nobody asked for, even bad ones', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a'), cluster('x'), badCluster('y')])
      expect(h.last.errorDetail).toBeUndefined()
      expect(h.state.held(TypeUrl.cluster, 'x')).toBeUndefined()
    })

    it('unwraps discovery.v3.Resource, with its own version', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [anyOf(ResourceSchema, { name: 'a', version: 'r9', resource: cluster('a') })])
      expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'ACKED', version: 'r9' })
      expect(h.last.versionInfo).toBe('v1')
    })

    it('takes a wrapper without content for a sign of life', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      h.respond(TypeUrl.cluster, 'v2', [anyOf(ResourceSchema, { name: 'a', version: 'v1' })])
      expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('ACKED')
      expect(h.state.held(TypeUrl.cluster, 'a')?.value).toBeDefined()
    })

    it('refuses a response of a type that it does not know, under that type', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      const nonce = h.respond('type.googleapis.com/envoy.Nonsense', 'v1', [])
      expect(h.last).toMatchObject({
        typeUrl: 'type.googleapis.com/envoy.Nonsense',
        responseNonce: nonce,
        resourceNames: [],
      })
      expect(h.last.errorDetail?.message).toContain('is not known')
    })

    it('refuses a response of a type that was not asked for', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.route, 'v1', [route('r', 'c')])
      expect(h.last.errorDetail?.message).toContain('was not asked for')
    })

    it('refuses a resource of another type, naming both', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [listener('a', 'r')])
      expect(h.last.errorDetail?.message).toBe(
        'Cluster #0 (name unreadable): is a envoy.config.listener.v3.Listener, expected envoy.config.cluster.v3.Cluster',
      )
    })

    it('refuses corrupt protobuf, with the name when it can still be read', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      const value = Buffer.concat([Buffer.from(cluster('a').value), Buffer.from([0x22, 0x7f, 0x01])])
      h.respond(TypeUrl.cluster, 'v1', [create(AnySchema, { typeUrl: TypeUrl.cluster, value })])
      expect(h.last.errorDetail?.message).toMatch(/^Cluster a: is not a valid envoy.config.cluster.v3.Cluster: /)
      expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('NACKED')
    })

    it('refuses a resource of 10 MiB unread and fast', () => {
      h.subscribe(TypeUrl.cluster, 'a', 'b')
      const huge = anyOf(ClusterSchema, { ...clusterInit('a'), altStatName: 'x'.repeat(10 * 1024 * 1024) })
      const start = performance.now()
      h.respond(TypeUrl.cluster, 'v1', [huge, cluster('b')])
      expect(performance.now() - start).toBeLessThan(1_000)
      expect(h.last.errorDetail?.message).toMatch(/^Cluster a: has 104\d+ bytes, more than the limit of 4 MiB/)
      expect(h.stateOf(TypeUrl.cluster, 'b')).toBe('ACKED')
      expect(huge.value.length).toBeGreaterThan(MAX_RESOURCE_BYTES)
    })

    it('ends the stream on a response that is no message at all', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.actions = []
      h.step({ kind: 'response', bytes: new Uint8Array([0x0a, 0x7f]) })
      expect(h.actions.map((a) => a.kind)).toEqual(['disconnect', 'connection'])
      expect(h.state.lastError).toContain('cannot be decoded')
    })
  })

  describe('rule 14: flow control', () => {
    it('asks for the next message only after the previous one was used and answered', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.actions = []
      h.respond(TypeUrl.cluster, 'v1', [cluster('a')])
      expect(h.actions.map((a) => a.kind)).toEqual(['connection', 'changed', 'send', 'read'])
    })
  })

  describe('a server that sends refused content again', () => {
    it('is answered at once the first time, and 30 s later each time after that', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
      expect(h.last.errorDetail).toBeDefined()
      const nonce = h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
      const before = h.requests.length
      h.wait(29_999)
      expect(h.requests).toHaveLength(before)
      h.wait(1)
      expect(h.last).toMatchObject({ responseNonce: nonce })
      expect(h.last.errorDetail).toBeDefined()
    })

    it('does not hold up other types', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      h.subscribe(TypeUrl.endpoints, 'a')
      for (let i = 0; i < 2; i++) h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
      h.respond(TypeUrl.endpoints, 'e1', [endpoints('a')])
      expect(h.last).toMatchObject({ typeUrl: TypeUrl.endpoints, versionInfo: 'e1' })
    })

    it('hears the waiting refusal before its next response is answered', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      for (let i = 0; i < 2; i++) h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
      const before = h.requests.length
      h.respond(TypeUrl.cluster, 'v2', [cluster('a')])
      expect(h.requests.slice(before).map((r) => r.errorDetail?.code)).toEqual([3, undefined])
    })

    it('hears the refusal before anything else of this type', () => {
      h.subscribe(TypeUrl.cluster, 'a')
      for (let i = 0; i < 2; i++) h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
      h.subscribe(TypeUrl.cluster, 'b')
      expect(h.last).toMatchObject({ resourceNames: ['a', 'b'] })
      expect(h.last.errorDetail).toBeDefined()
      h.respond(TypeUrl.cluster, 'v2', [cluster('a'), cluster('b')])
      expect(h.last.versionInfo).toBe('v2')
      expect(h.last.errorDetail).toBeUndefined()
    })
  })
})

describe('resources on disk', () => {
  const onDisk = (name: string) => ({
    typeUrl: TypeUrl.cluster,
    name,
    version: 'old',
    value: cluster('a').value,
    seenAt: 0,
  })
  const cache = { get: (_: string, name: string) => (name === 'a' ? onDisk(name) : undefined) }

  it('are used when the control plane did not answer within half a second', () => {
    const h = new AdsHarness({ cache })
    h.step({ kind: 'start' })
    h.subscribe(TypeUrl.cluster, 'a')
    h.wait(499)
    expect(h.state.held(TypeUrl.cluster, 'a')?.value).toBeUndefined()
    h.wait(1)
    expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'REQUESTED', fromCache: true, version: 'old' })
  })

  it('are used at once when it cannot be reached', () => {
    const h = new AdsHarness({ cache })
    h.connected = false
    h.step({ kind: 'start' })
    h.subscribe(TypeUrl.cluster, 'a')
    h.end()
    expect(h.state.held(TypeUrl.cluster, 'a')?.fromCache).toBe(true)
  })

  it('are not used when it answers in time', () => {
    const h = new AdsHarness({ cache })
    h.step({ kind: 'start' })
    h.subscribe(TypeUrl.cluster, 'a')
    h.respond(TypeUrl.cluster, 'v1', [cluster('a', 'other')])
    h.wait(10_000)
    expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'ACKED', fromCache: false, version: 'v1' })
  })

  it('are replaced by what it says later, and go when it does not know them', () => {
    const h = new AdsHarness({ cache })
    h.step({ kind: 'start' })
    h.subscribe(TypeUrl.cluster, 'a')
    h.wait(1_000)
    h.wait(14_000)
    expect(h.stateOf(TypeUrl.cluster, 'a')).toBe('DOES_NOT_EXIST')
    expect(h.state.held(TypeUrl.cluster, 'a')?.value).toBeUndefined()
  })

  it('stand in for a version that is refused', () => {
    const h = new AdsHarness({ cache })
    h.step({ kind: 'start' })
    h.subscribe(TypeUrl.cluster, 'a')
    h.respond(TypeUrl.cluster, 'v1', [badCluster('a')])
    expect(h.state.held(TypeUrl.cluster, 'a')).toMatchObject({ state: 'NACKED', fromCache: true, version: 'old' })
  })

  it('are left alone when they no longer pass the decoder', () => {
    const h = new AdsHarness({ cache: { get: () => ({ ...onDisk('a'), value: new Uint8Array([0xff]) }) } })
    h.step({ kind: 'start' })
    h.subscribe(TypeUrl.cluster, 'a')
    h.wait(1_000)
    expect(h.state.held(TypeUrl.cluster, 'a')?.value).toBeUndefined()
    expect(h.state.held(TypeUrl.cluster, 'a')?.error).toContain('the copy on disk cannot be used')
  })
})
