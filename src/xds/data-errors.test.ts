import { create, toBinary } from '@bufbuild/protobuf'
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { Any } from '@bufbuild/protobuf/wkt'
import { beforeEach, describe, expect, it } from 'vitest'
import { AdsHarness } from '../../test/support/ads-harness.ts'
import { anyOf, cluster, clusterInit, route } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_LbPolicy as LbPolicy } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { DiscoveryResponseSchema } from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import { clientStatusResponse } from './csds.ts'
import type { DataErrors } from './data-errors.ts'
import { TypeUrl } from './proto.ts'

const keep: DataErrors = { deletion: 'keep', refusal: 'keep', timerIsTransient: false }
const drop: DataErrors = { deletion: 'drop', refusal: 'drop', timerIsTransient: false }
const bad = anyOf(ClusterSchema, { ...clusterInit('c'), lbPolicy: LbPolicy.CLUSTER_PROVIDED })

let ads: AdsHarness
const start = (errors: DataErrors) => {
  ads = new AdsHarness({ errors, dialect: { providers: new Map(), serverIdentity: null, serverRoots: null } })
  ads.step({ kind: 'start' })
}
const held = (typeUrl: TypeUrl = TypeUrl.cluster, name = 'c') => ads.state.held(typeUrl, name)
/** State, and whether there is something to go on with. */
const summary = (typeUrl: TypeUrl = TypeUrl.cluster, name = 'c') => {
  const { state, bytes, error } = held(typeUrl, name)!
  return `${state} ${bytes === null ? 'nothing' : 'cached'}${error === '' ? '' : `: ${error}`}`
}

/** A response with DiscoveryResponse.resource_errors (field 7), which the generated message does not have. */
function respondWithError(typeUrl: TypeUrl, name: string, code: number, message: string, resources: Any[] = []): void {
  const base = toBinary(
    DiscoveryResponseSchema,
    create(DiscoveryResponseSchema, { typeUrl, versionInfo: 'e', nonce: 'e', resources }),
  )
  const named = new BinaryWriter().tag(1, WireType.LengthDelimited).string(name).finish()
  const status = new BinaryWriter()
    .tag(1, WireType.Varint)
    .int32(code)
    .tag(2, WireType.LengthDelimited)
    .string(message)
    .finish()
  const error = new BinaryWriter()
    .tag(1, WireType.LengthDelimited)
    .bytes(named)
    .tag(2, WireType.LengthDelimited)
    .bytes(status)
    .finish()
  const field = new BinaryWriter().tag(7, WireType.LengthDelimited).bytes(error).finish()
  ads.rules.responseSent(typeUrl, 'e', 'e')
  ads.step({ kind: 'response', bytes: new Uint8Array([...base, ...field]) })
}

describe('errors in data (A88), as foreign control planes expect it', () => {
  beforeEach(() => {
    start(keep)
    ads.subscribe(TypeUrl.cluster, 'c', 'other')
    ads.respond(TypeUrl.cluster, '1', [cluster('c')])
  })

  it('leave a deleted resource in use', () => {
    ads.respond(TypeUrl.cluster, '2', [])
    expect(summary()).toBe(
      'DOES_NOT_EXIST cached: the server says that it does not exist; the last version stays in use',
    )
    ads.respond(TypeUrl.cluster, '3', [cluster('c')])
    expect(summary()).toBe('ACKED cached')
  })

  it('leave a refused resource in use', () => {
    ads.respond(TypeUrl.cluster, '2', [bad])
    expect(summary()).toMatch(/^NACKED cached: Cluster c: lb_policy/)
    expect(held()).toMatchObject({ version: '1', refused: { version: '2' } })
  })

  it('are told by the server itself (xRFC TP3), for names that are subscribed', () => {
    respondWithError(TypeUrl.cluster, 'c', 5, 'gone', [cluster('other')])
    expect(summary()).toMatch(/^RECEIVED_ERROR cached: Cluster c: the server says gone \(status 5\)/)
    respondWithError(TypeUrl.cluster, 'nobody', 5, 'gone')
    expect(held(TypeUrl.cluster, 'nobody')).toBeUndefined()
  })

  it('of what never came end the wait for it', () => {
    ads.subscribe(TypeUrl.route, 'r')
    respondWithError(TypeUrl.route, 'r', 7, 'not for you')
    expect(summary(TypeUrl.route, 'r')).toMatch(/^RECEIVED_ERROR nothing: .*not for you/)
    ads.wait(60_000)
    expect(summary(TypeUrl.route, 'r')).toMatch(/^RECEIVED_ERROR nothing/)
    ads.respond(TypeUrl.route, '2', [route('r', 'c')])
    expect(summary(TypeUrl.route, 'r')).toBe('ACKED cached')
  })

  it('are no reason to forget what a silent server had sent before', () => {
    ads.end()
    ads.wait(60_000)
    expect(summary()).toBe('ACKED cached')
  })
})

describe('fail_on_data_errors', () => {
  beforeEach(() => {
    start(drop)
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.respond(TypeUrl.cluster, '1', [cluster('c')])
  })

  it('drops what is deleted, refused, or not found by the server', () => {
    ads.respond(TypeUrl.cluster, '2', [])
    expect(summary()).toBe('DOES_NOT_EXIST nothing')
    ads.respond(TypeUrl.cluster, '3', [cluster('c')])
    ads.respond(TypeUrl.cluster, '4', [bad])
    expect(summary()).toMatch(/^NACKED nothing/)
    ads.respond(TypeUrl.cluster, '5', [cluster('c')])
    expect(summary()).toBe('ACKED cached')
    respondWithError(TypeUrl.cluster, 'c', 5, 'gone')
    expect(summary()).toMatch(/^RECEIVED_ERROR nothing/)
  })

  it('keeps what another error of the server is about', () => {
    respondWithError(TypeUrl.cluster, 'c', 14, 'busy', [cluster('c')])
    expect(summary()).toMatch(/^RECEIVED_ERROR cached/)
  })
})

describe('silence', () => {
  it('of 15 s means that a resource does not exist', () => {
    start(keep)
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.wait(14_999)
    expect(summary()).toBe('REQUESTED nothing')
    ads.wait(1)
    expect(summary()).toBe('DOES_NOT_EXIST nothing')
  })

  it('of 30 s means that the server is slow, with resource_timer_is_transient_error', () => {
    start({ ...keep, timerIsTransient: true })
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.wait(29_999)
    expect(summary()).toBe('REQUESTED nothing')
    ads.wait(1)
    expect(summary()).toBe('TIMEOUT nothing: the server did not send Cluster c in time')
    ads.respond(TypeUrl.cluster, '1', [cluster('c')])
    expect(summary()).toBe('ACKED cached')
  })

  it('of a server that cannot be reached means nothing (A57)', () => {
    start(keep)
    ads.connected = false
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.wait(60_000)
    expect(summary()).toBe('REQUESTED nothing')
  })
})

describe('another server (A71)', () => {
  it('gets no version and no nonce of the one before; what is held stays, its rules change', () => {
    start(keep)
    ads.subscribe(TypeUrl.cluster, 'c')
    ads.respond(TypeUrl.cluster, 'of the first', [cluster('c')])
    ads.step({ kind: 'switch', errors: drop })
    expect(ads.last).toMatchObject({ resourceNames: ['c'], versionInfo: '', responseNonce: '', node: { id: 'node-1' } })
    expect(summary()).toBe('ACKED cached')
    ads.respond(TypeUrl.cluster, '1', [])
    expect(summary()).toBe('DOES_NOT_EXIST nothing')
  })
})

describe('the Client Status Discovery Service (A40)', () => {
  it('tells state, version, content and error of every resource', () => {
    start(keep)
    ads.subscribe(TypeUrl.cluster, 'c', 'asked')
    ads.now = 1_000
    ads.respond(TypeUrl.cluster, '1', [cluster('c')])
    ads.now = 3_000
    ads.respond(TypeUrl.cluster, '2', [bad])
    const status = {
      node: { id: 'n', cluster: 'c', locality: 'r/z', metadata: {}, version: '1' },
      ageMs: (time: number) => ads.now - time + 0.25,
      resources: [...ads.state.resources()],
    }
    const [config] = clientStatusResponse(status, true, 10_000).config
    expect(config?.node).toMatchObject({ id: 'n', locality: { region: 'r', zone: 'z' } })
    expect(config?.genericXdsConfigs).toMatchObject([
      {
        typeUrl: TypeUrl.cluster,
        name: 'c',
        versionInfo: '1',
        clientStatus: 4,
        xdsConfig: { typeUrl: TypeUrl.cluster, value: cluster('c').value },
        lastUpdated: { seconds: 8n },
        errorState: { versionInfo: '2', lastUpdateAttempt: { seconds: 10n } },
      },
      { name: 'asked', versionInfo: '', clientStatus: 1 },
    ])
    expect(config?.genericXdsConfigs[0]?.errorState?.details).toContain('Cluster c: lb_policy')
    expect(clientStatusResponse(status, false).config[0]?.genericXdsConfigs[0]?.xdsConfig).toBeUndefined()
  })
})
