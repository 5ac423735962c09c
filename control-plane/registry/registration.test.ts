import { create, type MessageInitShape } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import {
  Health,
  Protocol,
  RegisterRequestSchema,
  type WorkloadEndpointSchema,
} from '../../src/gen/inmesh/v1/registry_pb.js'
import { readRegistration } from './registration.ts'

const peer = {
  spiffeId: 'spiffe://cluster.local/ns/shop/sa/pay-sa',
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount: 'pay-sa',
  serialNumber: '01',
  notAfter: 0,
  tlsVersion: 'TLSv1.3',
}

function read(endpoint: MessageInitShape<typeof WorkloadEndpointSchema>, service = 'payments') {
  const complete = { address: '10.0.0.1', port: 8080, ...endpoint }
  const request = create(RegisterRequestSchema, { instanceId: 'i', endpoints: [complete] })
  return readRegistration(request, { peer, service }, 'cluster.local')
}

describe('what a workload may register', () => {
  it('has service, namespace and id of its certificate', () => {
    expect(read({ labels: { version: 'v2', app: 'spoofed' }, weight: 0, health: Health.UNSPECIFIED })).toEqual([
      {
        service: 'payments',
        namespace: 'shop',
        address: '10.0.0.1',
        port: 8080,
        labels: { version: 'v2', app: 'payments' },
        locality: '',
        weight: 1,
        spiffeId: peer.spiffeId,
        health: 'HEALTHY',
        instanceId: 'i',
      },
    ])
  })

  it('says what is spoken there', () => {
    expect(read({ protocol: Protocol.GRPC })).toMatchObject([{ protocol: 'GRPC' }])
    expect(read({ protocol: Protocol.HTTP })).not.toMatchObject([{ protocol: 'GRPC' }])
    expect(read({ protocol: 9 as Protocol })).toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: 'endpoints[0].protocol 9 is not known',
    })
  })

  it.each(['payments', 'payments.shop', 'payments.shop.svc.cluster.local'])('may be called %s', (service) => {
    expect(read({ service })).toHaveLength(1)
  })

  it.each(['orders', 'payments.default', 'payments.default.svc.cluster.local', 'pay-sa'])('is not %s', (service) => {
    expect(read({ service })).toMatchObject({
      code: 'PERMISSION_DENIED',
      message: expect.stringContaining(peer.spiffeId),
    })
  })

  it('is the service account when the certificate has no common name', () => {
    expect(read({ service: 'pay-sa' }, '')).toMatchObject([{ service: 'pay-sa' }])
    expect(read({ service: 'payments' }, '')).toMatchObject({ code: 'PERMISSION_DENIED' })
  })

  it('cannot be of an id of another shape', () => {
    const request = create(RegisterRequestSchema, { instanceId: 'i' })
    const odd = { ...peer, namespace: '', serviceAccount: '' }
    expect(readRegistration(request, { peer: odd, service: 'x' }, 'd')).toMatchObject({ code: 'PERMISSION_DENIED' })
  })

  it.each([
    ['a host name', { address: 'localhost' }],
    ['every address', { address: '0.0.0.0' }],
    ['port 0', { port: 0 }],
    ['port 65536', { port: 65_536 }],
    ['an unknown health', { health: 9 as Health }],
    ['an endless label', { labels: { a: 'x'.repeat(300) } }],
    ['too many labels', { labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`l${i}`, ''])) }],
  ])('%s is refused', (_what, endpoint) => {
    expect(read(endpoint)).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('is refused without instance id, and when an address is there twice', () => {
    const address = { address: '::1', port: 1 }
    const twice = create(RegisterRequestSchema, { instanceId: 'i', endpoints: [address, address] })
    expect(readRegistration(twice, { peer, service: 's' }, 'd')).toMatchObject({ code: 'INVALID_ARGUMENT' })
    const nameless = create(RegisterRequestSchema, { endpoints: [address] })
    expect(readRegistration(nameless, { peer, service: 's' }, 'd')).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
