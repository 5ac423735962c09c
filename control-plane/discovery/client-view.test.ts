import { create } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { NodeSchema } from '../../src/gen/envoy/config/core/v3/base_pb.js'
import type { Peer } from '../../src/model/peer.ts'
import { clientView } from './client-view.ts'

const peer: Peer = {
  spiffeId: 'spiffe://cluster.local/ns/shop/sa/orders-sa',
  trustDomain: 'cluster.local',
  namespace: 'shop',
  serviceAccount: 'orders-sa',
  serialNumber: '01',
  notAfter: 0,
  tlsVersion: 'TLSv1.3',
}
const identity = { peer, service: 'orders' }

function node(id: string, metadata: Record<string, string | Record<string, string>> = {}, userAgentName = 'inmesh') {
  return create(NodeSchema, { id, metadata, userAgentVersionType: { case: undefined }, userAgentName })
}

describe('who a client is', () => {
  it('comes from the certificate', () => {
    expect(clientView(node('anything'), identity)).toEqual({
      view: {
        clientClass: 'inmesh',
        namespace: 'shop',
        serviceAccount: 'orders-sa',
        service: 'orders',
        labels: { app: 'orders' },
        locality: '',
      },
    })
  })

  it('has the labels that the node names, but not its choice of app', () => {
    const result = clientView(node('x', { LABELS: { version: 'v2', app: 'payments' } }), identity)
    expect(result).toMatchObject({ view: { labels: { version: 'v2', app: 'orders' } } })
  })

  it.each([
    ['namespace', node('x', { NAMESPACE: 'default' })],
    ['service account', node('x', { NAMESPACE: 'shop', SERVICE_ACCOUNT: 'admin' })],
    ['service', node('x', { SERVICE: 'payments' })],
    ["name part of istiod's id", node('sidecar~10.0.0.1~orders-1.other~shop.svc.cluster.local')],
    ["domain part of istiod's id", node('sidecar~10.0.0.1~orders-1.shop~other.svc.cluster.local')],
    ['SPIFFE id as node id', node('spiffe://cluster.local/ns/shop/sa/admin')],
  ])('is refused when the node claims another %s', (_what, claim) => {
    expect(clientView(claim, identity)).toEqual({ refused: expect.stringContaining(peer.spiffeId) })
  })

  it('is accepted when what the node says agrees', () => {
    const metadata = { NAMESPACE: 'shop', SERVICE_ACCOUNT: 'orders-sa', SERVICE: 'orders' }
    expect(
      clientView(node('sidecar~10.0.0.1~orders-1.shop~shop.svc.cluster.local', metadata), identity),
    ).toHaveProperty('view')
  })

  it('without a certificate is what metadata says, then what the id says, then the default namespace', () => {
    expect(clientView(node('n', { NAMESPACE: 'a', SERVICE: 's' }), null)).toMatchObject({
      view: { namespace: 'a', service: 's' },
    })
    expect(clientView(node('sidecar~1.2.3.4~x.b~b.svc.cluster.local'), null)).toMatchObject({
      view: { namespace: 'b' },
    })
    expect(clientView(node('n'), null)).toMatchObject({ view: { namespace: 'default', serviceAccount: 'default' } })
  })

  it.each([
    ['inmesh', 'inmesh'],
    ['gRPC Node Pure JS', 'grpc-js'],
    ['gRPC Go', 'grpc'],
    ['gRPC C-core linux', 'grpc'],
    ['', 'grpc'],
  ])('user agent "%s" is of class %s', (userAgent, clientClass) => {
    expect(clientView(node('n', {}, userAgent), null)).toMatchObject({ view: { clientClass } })
  })

  it('survives metadata of odd types', () => {
    const odd = create(NodeSchema, { id: 'n', metadata: { NAMESPACE: 7, LABELS: ['a'], SERVICE: { a: 1 } } })
    expect(clientView(odd, null)).toMatchObject({ view: { namespace: 'default', labels: {} } })
  })
})
