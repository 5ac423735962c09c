import { describe, expect, it } from 'vitest'
import { endpointOf, revisionOf } from '../translate/testing/mesh.ts'
import { translate } from '../translate/translate.ts'
import { explainFor } from './explain-for.ts'

const endpoints = [
  endpointOf('payments v1 10.0.0.1'),
  endpointOf('payments v2 10.0.0.2'),
  endpointOf('orders v1 10.0.1.1'),
]

const yaml = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - name: beta
      match: [{ headers: { x-user: { exact: beta } } }]
      timeout: 2s
      route: [{ destination: { host: payments, subset: v2 } }]
    - name: rest
      route:
        - { destination: { host: payments, subset: v1 }, weight: 90 }
        - { destination: { host: payments, subset: v2 }, weight: 10 }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments }
spec:
  host: payments
  subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]
`

const translation = translate(revisionOf({ yaml, endpoints }), null)
const client = { service: 'orders' }

describe('an explanation by the control plane', () => {
  it('is what the client of that name would do with what it is sent', () => {
    const beta = explainFor(translation, client, { url: 'http://payments/charge', headers: { 'X-User': 'beta' } })
    expect(beta.destinations).toHaveLength(1)
    expect(beta.destinations[0]).toMatchObject({
      rule: 'beta',
      cluster: 'outbound|80|v2|payments.default.svc.cluster.local',
    })
    expect(beta.destinations[0]!.hosts.map((h) => [h.address, h.usable])).toEqual([['10.0.0.2:8080', true]])
    expect(beta.destinations[0]!.policies.find((p) => p.name === 'timeout')).toEqual({
      name: 'timeout',
      value: '2 s to the end of the answer',
      decidedBy: 'VirtualService/default/payments',
    })
    const rest = explainFor(translation, client, { url: 'http://payments/charge' })
    expect(rest.rules[0]!.why).toBe('asks that header x-user is "beta"; it is absent')
    expect(rest.destinations.map((d) => d.share)).toEqual([0.9, 0.1])
    expect(rest.notes).toEqual([])
  })

  it('resolves names as that client does', () => {
    const other = { service: 'web', namespace: 'other' }
    expect(explainFor(translation, other, { url: 'http://payments.default/' }).outcome).toBe('matched')
    // A short name is a service of the own namespace, and there is none: the mesh lets the call pass.
    const { destinations } = explainFor(translation, other, { url: 'http://payments/' })
    expect(destinations.map((d) => d.kind)).toEqual(['passthrough'])
  })

  it('says what blocks a host that nobody knows', () => {
    const blocked = translate(
      revisionOf({ yaml, endpoints, settings: { outboundTrafficPolicy: 'REGISTRY_ONLY' } }),
      null,
    )
    const { destinations } = explainFor(blocked, client, { url: 'http://example.com/' })
    expect(destinations[0]!.answer).toMatchObject({ status: 502 })
  })
})
