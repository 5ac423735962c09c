import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseBootstrap } from './bootstrap.ts'
import { environmentBootstrap } from './find-bootstrap.ts'
import { authorityOf, ListenerNames } from './listener-names.ts'

const server = { server_uri: 'xds:443', channel_creds: [{ type: 'insecure' }] }
const minimal = { xds_servers: [server] }
const parse = (json: unknown) => parseBootstrap(json, 'bootstrap')

describe('a bootstrap', () => {
  it('needs nothing but a server', () => {
    expect(parse(minimal)).toEqual({
      servers: [
        { uri: 'xds:443', credentials: { type: 'insecure' }, failOnDataErrors: false, timerIsTransient: false },
      ],
      node: { id: '', cluster: '', locality: '', metadata: {} },
      certificateProviders: new Map(),
      authorities: new Map(),
      clientTemplate: '%s',
      serverTemplate: null,
      warnings: [],
    })
  })

  it('is read whole', () => {
    const files = { certificate_file: '/c', private_key_file: '/k', ca_certificate_file: '/ca' }
    const parsed = parse({
      xds_servers: [
        { ...server, server_features: ['xds_v3', 'ignore_resource_deletion', 'fail_on_data_errors'] },
        {
          server_uri: 'dns:///second',
          channel_creds: [{ type: 'google_default' }, { type: 'tls', config: files }],
          server_features: ['resource_timer_is_transient_error', 'trusted_xds_server'],
        },
      ],
      node: { id: 'n', cluster: 'c', locality: { region: 'r', zone: 'z' }, metadata: { LABELS: { app: 'a' } } },
      certificate_providers: {
        default: { plugin_name: 'file_watcher', config: { ...files, refresh_interval: '1.5s' } },
        map: {
          plugin_name: 'file_watcher',
          config: { ca_certificate_file: '/ca', spiffe_trust_bundle_map_file: '/m' },
        },
      },
      authorities: { 'a b': { client_listener_resource_name_template: 'xdstp://a%20b/x/%s' }, '': {} },
      client_default_listener_resource_name_template: 'l/%s',
      server_listener_resource_name_template: 's/%s',
    })
    const certificate = { chain: '/c', key: '/k' }
    const roots = { kind: 'ca', path: '/ca' }
    expect(parsed.servers).toEqual([
      { uri: 'xds:443', credentials: { type: 'insecure' }, failOnDataErrors: true, timerIsTransient: false },
      {
        uri: 'dns:///second',
        credentials: { type: 'tls', files: { certificate, roots, refreshMs: 600_000 } },
        failOnDataErrors: false,
        timerIsTransient: true,
      },
    ])
    expect(parsed.node).toEqual({ id: 'n', cluster: 'c', locality: 'r/z', metadata: { LABELS: { app: 'a' } } })
    expect(parsed.certificateProviders.get('default')).toEqual({ certificate, roots, refreshMs: 1_500 })
    expect(parsed.certificateProviders.get('map')?.roots).toEqual({ kind: 'spiffe', path: '/m' })
    expect(parsed.authorities.get('')?.clientTemplate).toBe('xdstp:///envoy.config.listener.v3.Listener/%s')
    expect(parsed.warnings).toEqual([])
  })

  it('says what has no effect', () => {
    const { warnings } = parse({
      xds_servers: [{ ...server, server_features: ['xds_v9'], call_creds: [{ type: 'jwt_token_file' }] }],
      certificate_providers: { spire: { plugin_name: 'spire_agent', config: {} } },
      extra: 1,
    })
    expect(warnings).toEqual([
      'bootstrap["extra"]: is not known here and has no effect',
      'bootstrap.certificate_providers["spire"]: plugin "spire_agent" is not known here: resources that name this instance will be refused',
      'bootstrap.xds_servers[0].call_creds: call credentials (gRFC A97) are not supported and have no effect',
      'bootstrap.xds_servers[0].server_features[0]: "xds_v9" is not known here and has no effect',
    ])
  })

  it.each<[unknown, string]>([
    [[], 'bootstrap: is [], expected an object'],
    [{}, 'bootstrap.xds_servers: is missing'],
    [{ xds_servers: [] }, 'bootstrap.xds_servers: must not be empty'],
    [{ xds_servers: [{ channel_creds: [] }] }, 'bootstrap.xds_servers[0].server_uri: is missing'],
    [{ xds_servers: [{ server_uri: 'x' }] }, 'bootstrap.xds_servers[0].channel_creds: is missing'],
    [
      { xds_servers: [{ server_uri: 'x', channel_creds: [{ type: 'google_default' }] }] },
      'bootstrap.xds_servers[0].channel_creds: "google_default" not supported, expected "insecure" or "tls"',
    ],
    [{ ...minimal, node: { id: 7 } }, 'bootstrap.node.id: is 7, expected a string'],
    [
      { ...minimal, certificate_providers: { a: { plugin_name: 'file_watcher', config: { certificate_file: '/c' } } } },
      'bootstrap.certificate_providers["a"].config: certificate_file and private_key_file go together',
    ],
    [
      { ...minimal, certificate_providers: { a: { plugin_name: 'file_watcher', config: {} } } },
      'bootstrap.certificate_providers["a"].config: needs certificate_file and private_key_file, or ca_certificate_file, or both',
    ],
    [
      {
        ...minimal,
        certificate_providers: {
          a: { plugin_name: 'file_watcher', config: { ca_certificate_file: '/c', refresh_interval: '0s' } },
        },
      },
      'bootstrap.certificate_providers["a"].config.refresh_interval: is "0s", expected a duration like "600s", more than 0',
    ],
    [
      { ...minimal, authorities: { a: { client_listener_resource_name_template: 'xdstp://b/%s' } } },
      'bootstrap.authorities["a"].client_listener_resource_name_template: must begin with "xdstp://a/" (A47)',
    ],
  ])('names the field that cannot be used: %j', (json, message) => {
    expect(() => parse(json)).toThrow(expect.objectContaining({ code: 'ERR_INMESH_INVALID_OPTION', message }))
  })

  it('is found in a file, then in a variable', () => {
    const folder = mkdtempSync(join(tmpdir(), 'inmesh-bootstrap-'))
    try {
      const path = join(folder, 'b.json')
      writeFileSync(path, JSON.stringify({ ...minimal, node: { id: 'of the file' } }))
      const text = JSON.stringify({ ...minimal, node: { id: 'of the text' } })
      const found = (env: Record<string, string>) => environmentBootstrap(env)?.node.id
      expect(found({ GRPC_XDS_BOOTSTRAP: path, GRPC_XDS_BOOTSTRAP_CONFIG: text })).toBe('of the file')
      expect(found({ GRPC_XDS_BOOTSTRAP: '', GRPC_XDS_BOOTSTRAP_CONFIG: text })).toBe('of the text')
      expect(found({})).toBeUndefined()
      expect(() => found({ GRPC_XDS_BOOTSTRAP: '/nowhere' })).toThrow('GRPC_XDS_BOOTSTRAP /nowhere: cannot be read')
      expect(() => found({ GRPC_XDS_BOOTSTRAP_CONFIG: '{' })).toThrow('GRPC_XDS_BOOTSTRAP_CONFIG: is not JSON')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })
})

describe('names of listeners', () => {
  const names = (json: Record<string, unknown>) => new ListenerNames(parse({ ...minimal, ...json }))

  it('are what was dialled when nothing is said', () => {
    expect(names({}).client('echo:8080')).toBe('echo:8080')
    expect(names({}).server('10.0.0.1', 80)).toBeNull()
  })

  it('escape what is put into xdstp names, and nothing else', () => {
    const template = 'xdstp://a/envoy.config.listener.v3.Listener/%s?x=%s'
    const made = names({
      client_default_listener_resource_name_template: template,
      server_listener_resource_name_template: 'xdstp://a/l/%s',
    })
    expect(made.client('a b/c[d]:80$&')).toBe(template.replaceAll('%s', () => 'a%20b/c%5Bd%5D:80$&'))
    expect(made.server('::', 80)).toBe('xdstp://a/l/%5B::%5D:80')
    expect(names({ server_listener_resource_name_template: 's?%s' }).server('::', 80)).toBe('s?[::]:80')
  })

  it('go by the template of an authority', () => {
    const made = names({ authorities: { 'x.y': {}, e: { client_listener_resource_name_template: 'xdstp://e/L/%s' } } })
    expect(made.client('xds://x.y/echo:80')).toBe('xdstp://x.y/envoy.config.listener.v3.Listener/echo:80')
    expect(made.client('xds://e/echo')).toBe('xdstp://e/L/echo')
    expect(made.client('xds://unknown/echo')).toBeUndefined()
  })

  it('get the port that URLs leave out, where istiod wants it', () => {
    const made = names({ node: { metadata: { GENERATOR: 'grpc' } } })
    expect(made.client('echo.demo')).toBe('echo.demo:80')
    expect(made.client('echo.demo:7070')).toBe('echo.demo:7070')
  })

  it('tell their authority', () => {
    expect(authorityOf('xdstp://a%20b/t/x')).toBe('a b')
    expect(authorityOf('xdstp:///t/x')).toBe('')
    expect(authorityOf('outbound|80||a')).toBe('')
  })
})
