import { expect, it } from 'vitest'
import { clientOf, endpointOf, Mesh } from './testing/mesh.ts'

const host = 'payments.default.svc.cluster.local'
const orders = clientOf('orders')
const foreign = clientOf('orders', { clientClass: 'grpc' })

function reached(mesh: Mesh, port: number, client = orders) {
  const cluster = mesh.cluster(`outbound|${port}||${host}`, client)!
  return { protocol: cluster.protocol, ports: cluster.endpoints.map((endpoint) => endpoint.port) }
}
const http = endpointOf('payments v1 10.0.0.1', { port: 8080 })
const grpc = endpointOf('payments v1 10.0.0.1', { port: 50051, protocol: 'GRPC' })

it('a service that speaks gRPC is spoken to over HTTP/2, whatever port is dialled', () => {
  const mesh = new Mesh({ endpoints: [grpc, { ...grpc, address: '10.0.0.2', port: 50052 }] })
  expect(reached(mesh, 80)).toEqual({ protocol: 'h2', ports: [50051, 50052] })
  expect(reached(mesh, 50051)).toEqual({ protocol: 'h2', ports: [50051, 50052] })
})

it('a rule cannot make HTTP/1.1 of it', () => {
  const yaml = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: payments }
spec: { host: payments, trafficPolicy: { connectionPool: { http: { h2UpgradePolicy: DO_NOT_UPGRADE } } } }
`
  expect(reached(new Mesh({ yaml, endpoints: [grpc] }), 80).protocol).toBe('h2')
  expect(reached(new Mesh({ yaml, endpoints: [http] }), 80).protocol).toBe('http1')
})

it('a service that speaks both: its ports are ports', () => {
  const mesh = new Mesh({ endpoints: [http, grpc] })
  expect(reached(mesh, 80)).toEqual({ protocol: 'http1', ports: [8080] })
  expect(reached(mesh, 8080)).toEqual({ protocol: 'http1', ports: [8080] })
  expect(reached(mesh, 50051)).toEqual({ protocol: 'h2', ports: [50051] })
  expect(reached(mesh, 80, foreign).ports).toEqual([50051])
  expect(reached(mesh, 8080, foreign).ports).toEqual([8080])
})

it('a service that speaks HTTP only: any port means all of it', () => {
  const mesh = new Mesh({ endpoints: [http, { ...http, address: '10.0.0.2', port: 8081 }] })
  expect(reached(mesh, 8081)).toEqual({ protocol: 'http1', ports: [8080, 8081] })
})
