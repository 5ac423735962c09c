import { describe, expect, it } from 'vitest'
import { resolveOptions } from './options.ts'

describe('resolveOptions', () => {
  it('needs no more than the name of the service', () => {
    const o = resolveOptions({}, { INMESH_SERVICE: 'payments', HOME: '/home/u' })
    expect(o.workload).toMatchObject({
      service: 'payments',
      namespace: 'default',
      serviceAccount: 'payments',
      trustDomain: 'cluster.local',
      labels: { app: 'payments' },
    })
    expect(o.controlPlane).toBe('127.0.0.1:15012')
    expect(o.stateDir.endsWith('.local/state/inmesh/default/payments')).toBe(true)
  })

  it('lets options win over the environment', () => {
    const o = resolveOptions(
      { namespace: 'shop', labels: { version: 'v2' } },
      { INMESH_SERVICE: 'a', INMESH_NAMESPACE: 'x' },
    )
    expect(o.workload.namespace).toBe('shop')
    expect(o.workload.labels).toEqual({ version: 'v2', app: 'a' })
  })

  it('reads labels and keeps app as the service', () => {
    const o = resolveOptions({}, { INMESH_SERVICE: 'a', INMESH_LABELS: 'version=v2, app=other,tier=' })
    expect(o.workload.labels).toEqual({ version: 'v2', tier: '', app: 'a' })
  })

  it.each([
    [{}, {}, /service \(or INMESH_SERVICE\) is missing/],
    [{ service: 'Pay_ments' }, {}, /service .*"Pay_ments".*DNS label/],
    [{ service: 'a', controlPlane: 'nowhere' }, {}, /controlPlane .*"host:port"/],
    [{ service: 'a', controlPlane: 'h:99999' }, {}, /controlPlane/],
    [{ service: 'a' }, { INMESH_ADMIN_PORT: '70000' }, /INMESH_ADMIN_PORT.*65535/],
    [{ service: 'a' }, { INMESH_LABELS: 'version' }, /INMESH_LABELS.*key=value/],
    [{ service: 'a', trustDomain: 'A.b' }, {}, /trustDomain/],
    [{ service: 'a' }, { INMESH_LOG_LEVEL: 'loud' }, /INMESH_LOG_LEVEL/],
    [{ service: 'a' }, { INMESH_TOKEN_FILE: '/does/not/exist' }, /INMESH_TOKEN_FILE: cannot read/],
  ])('names the option and what was expected: %j %j', (options, env, message) => {
    expect(() => resolveOptions(options, env)).toThrow(message)
  })
})

describe('a bootstrap of gRPC', () => {
  const text = (id: string) =>
    JSON.stringify({
      xds_servers: [{ server_uri: 'xds:1', channel_creds: [{ type: 'insecure' }] }],
      node: { id, cluster: 'orders.shop', locality: { region: 'r', zone: 'z' }, metadata: { NAMESPACE: 'shop' } },
    })

  it('says what nothing else says: service, namespace, locality', () => {
    const o = resolveOptions({}, { GRPC_XDS_BOOTSTRAP_CONFIG: text('n') })
    expect(o.workload).toMatchObject({ service: 'orders', namespace: 'shop', locality: 'r/z' })
    expect(o.foreign).toMatchObject({ bootstrap: { node: { id: 'n' } }, stateDir: null })
    const own = resolveOptions({ service: 'mine', stateDir: '/s' }, { GRPC_XDS_BOOTSTRAP_CONFIG: text('n') })
    expect(own.workload.service).toBe('mine')
    expect(own.foreign?.stateDir).toBe('/s')
  })

  it('comes after all that names a control plane of inmesh, and first when it is in the code', () => {
    const env = { INMESH_SERVICE: 'a', GRPC_XDS_BOOTSTRAP_CONFIG: text('env') }
    const id = (...args: Parameters<typeof resolveOptions>) => resolveOptions(...args).foreign?.bootstrap.node.id
    expect(id({}, env)).toBe('env')
    expect(id({ controlPlane: '10.0.0.1:15012' }, env)).toBeUndefined()
    expect(id({}, { ...env, INMESH_CONTROL_PLANE: '10.0.0.1:15012' })).toBeUndefined()
    expect(id({ controlPlane: { bootstrap: JSON.parse(text('code')) } }, { ...env, INMESH_CONTROL_PLANE: 'x:1' })).toBe(
      'code',
    )
  })

  it('is refused with its field, and so is an object that is neither', () => {
    expect(() => resolveOptions({ controlPlane: { bootstrap: {} } }, {})).toThrow(
      'controlPlane.bootstrap.xds_servers: is missing',
    )
    expect(() => resolveOptions({ service: 'a', controlPlane: {} as never }, {})).toThrow(
      'expected { embedded: ... } or { bootstrap: ... }',
    )
  })
})
