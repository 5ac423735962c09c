import { afterEach, describe, expect, it } from 'vitest'
import { defineMesh, httpRoute, virtualService } from '../../src/index.ts'
import { call, TrafficMesh } from '../support/traffic-mesh.ts'

const open: TrafficMesh[] = []
function traffic(source: ConstructorParameters<typeof TrafficMesh>[0]): TrafficMesh {
  const mesh = new TrafficMesh(source)
  open.push(mesh)
  return mesh
}
afterEach(async () => {
  for (const mesh of open.splice(0)) await mesh.close()
})
const soon = { timeout: 10_000, interval: 10 }
const answer = (status: number) => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: payments }
spec:
  hosts: [payments]
  http:
    - directResponse: { status: ${status} }
`

describe('configuration that changes', () => {
  it('a file that is wrong is told with its place, and the last good configuration stays', async () => {
    const mesh = traffic(answer(418))
    await mesh.serve('payments')
    const web = await mesh.join('web')
    const status = async () => (await call(web, 'http://payments/')).status
    expect(await status()).toBe(418)
    const file = mesh.write(
      'more.yaml',
      answer(200).replace('name: payments', 'name: more').replace('- direct', '- diretc'),
    )
    mesh.write('mesh.yaml', answer(451))
    await expect
      .poll(() => mesh.problems.filter(({ severity }) => severity === 'error'), soon)
      .toContainEqual(expect.objectContaining({ file, line: 7, field: 'spec.http[0].diretcResponse' }))
    expect(await status()).toBe(418)
    mesh.write('more.yaml', '# nothing\n')
    await expect.poll(status, soon).toBe(451)
  })

  it('policy as code is the same mesh', async () => {
    const route = httpRoute('payments', {
      parentRefs: [{ group: '', kind: 'Service', name: 'payments' }],
      rules: [
        {
          matches: [{ path: { type: 'PathPrefix', value: '/v2' } }],
          filters: [
            { type: 'RequestHeaderModifier', requestHeaderModifier: { set: [{ name: 'x-by', value: '100%' }] } },
          ],
          backendRefs: [{ name: 'payments', port: 80 }],
        },
      ],
    })
    const mesh = traffic(
      defineMesh({
        resources: [route, virtualService('web', { hosts: ['web'], http: [{ directResponse: { status: 418 } }] })],
      }),
    )
    await mesh.serve('payments')
    const web = await mesh.join('web')
    expect((await call(web, 'http://payments/v2/x')).echo).toMatchObject({ url: '/v2/x', headers: { 'x-by': '100%' } })
    expect((await call(web, 'http://payments/v20')).status).toBe(404)
    expect((await call(web, 'http://web/')).status).toBe(418)
  })

  it('names of one service in all their forms are the same service', async () => {
    const mesh = traffic(answer(418))
    await mesh.serve('payments', 'v1')
    const web = await mesh.join('web')
    for (const authority of [
      'payments',
      'PAYMENTS',
      'payments:80',
      'payments.default',
      'payments.default.svc',
      'payments.default.svc.cluster.local',
      'payments.default.svc.cluster.local.',
      'Payments.Default.Svc.Cluster.Local:80',
    ])
      expect({ authority, status: (await call(web, `http://${authority}/`)).status }).toEqual({
        authority,
        status: 418,
      })
  })
})
