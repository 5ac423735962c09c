import type { CertificateFiles } from '../../model/certificate-files.ts'
import type { JsonObject, XdsNode } from '../node.ts'
import { type ChannelCredentialsConfig, channelCredentials, fileWatcher } from './credentials.ts'
import { JsonPlace } from './json-place.ts'

/** What gRPC's xDS bootstrap says (gRFC A27 and those named at the fields). */
export interface Bootstrap {
  /** In order of preference (A71). */
  readonly servers: readonly XdsServerConfig[]
  readonly node: Omit<XdsNode, 'version'>
  /** By instance name (A29). */
  readonly certificateProviders: ReadonlyMap<string, CertificateFiles>
  /** By name (A47). */
  readonly authorities: ReadonlyMap<string, AuthorityConfig>
  /** Name of the Listener for a dialled name; "%s" stands for that. */
  readonly clientTemplate: string
  /** Name of a server's Listener; "%s" stands for IP:port (A36). null = no server can be told what to enforce. */
  readonly serverTemplate: string | null
  /** What stands there and has no effect. */
  readonly warnings: readonly string[]
}

export interface XdsServerConfig {
  /** gRPC target. */
  readonly uri: string
  readonly credentials: ChannelCredentialsConfig
  /** What to do about data errors (A88). */
  readonly failOnDataErrors: boolean
  /** Silence is the server's slowness, not a resource's absence (A88). */
  readonly timerIsTransient: boolean
}

export interface AuthorityConfig {
  /** Empty = those at the top. */
  readonly servers: readonly XdsServerConfig[]
  readonly clientTemplate: string
}

const rootFields = [
  'xds_servers',
  'node',
  'certificate_providers',
  'authorities',
  'client_default_listener_resource_name_template',
  'server_listener_resource_name_template',
]

/**
 * Reads a bootstrap as gRPC does: unknown fields are ignored (with a warning), fields that are known must make sense.
 *
 * @param source what messages call it, like "GRPC_XDS_BOOTSTRAP /etc/xds.json"
 * @throws InmeshError ERR_INMESH_INVALID_OPTION naming the field
 */
export function parseBootstrap(json: unknown, source: string): Bootstrap {
  const root = new JsonPlace(json, source)
  onlyReads(root, rootFields)
  const serverTemplate = root.at('server_listener_resource_name_template')
  const authorities = new Map<string, AuthorityConfig>()
  for (const [name, place] of root.at('authorities')?.entries() ?? []) authorities.set(name, authority(name, place))
  const providers = new Map<string, CertificateFiles>()
  for (const [name, place] of root.at('certificate_providers')?.entries() ?? []) {
    const files = provider(place)
    if (files !== null) providers.set(name, files)
  }
  return {
    servers: servers(root.need('xds_servers')),
    node: node(root.at('node')),
    certificateProviders: providers,
    authorities,
    clientTemplate: root.at('client_default_listener_resource_name_template')?.nonEmpty() ?? '%s',
    serverTemplate: serverTemplate?.nonEmpty() ?? null,
    warnings: root.warnings,
  }
}

function onlyReads(place: JsonPlace, known: readonly string[]): void {
  for (const [name, child] of place.entries())
    if (!known.includes(name)) child.warn('is not known here and has no effect')
}

function servers(list: JsonPlace): XdsServerConfig[] {
  const found = list.list().map(server)
  return found.length === 0 ? list.fail('must not be empty') : found
}

function server(place: JsonPlace): XdsServerConfig {
  onlyReads(place, ['server_uri', 'channel_creds', 'call_creds', 'server_features'])
  place.at('call_creds')?.warn('call credentials (gRFC A97) are not supported and have no effect')
  const features = (place.at('server_features')?.list() ?? []).map((feature) => {
    const name = feature.text()
    // A81 lets such a server rewrite authorities; here rewriting is allowed to all.
    if (!knownFeatures.has(name)) feature.warn(`"${name}" is not known here and has no effect`)
    return name
  })
  return {
    uri: place.need('server_uri').nonEmpty(),
    credentials: channelCredentials(place.need('channel_creds')),
    failOnDataErrors: features.includes('fail_on_data_errors'),
    timerIsTransient: features.includes('resource_timer_is_transient_error'),
  }
}

/** Version 3 is the only one spoken; what "ignore_resource_deletion" asks for is what always happens (A88). */
const knownFeatures = new Set([
  'xds_v3',
  'ignore_resource_deletion',
  'fail_on_data_errors',
  'resource_timer_is_transient_error',
  'trusted_xds_server',
])

function authority(name: string, place: JsonPlace): AuthorityConfig {
  onlyReads(place, ['xds_servers', 'client_listener_resource_name_template'])
  const template = place.at('client_listener_resource_name_template')
  const prefix = `xdstp://${encodeURIComponent(name)}/`
  if (template !== undefined && !template.text().startsWith(prefix)) template.fail(`must begin with "${prefix}" (A47)`)
  const own = place.at('xds_servers')
  return {
    servers: own === undefined || own.list().length === 0 ? [] : servers(own),
    clientTemplate: template?.text() ?? `${prefix}envoy.config.listener.v3.Listener/%s`,
  }
}

function provider(place: JsonPlace): CertificateFiles | null {
  onlyReads(place, ['plugin_name', 'config'])
  const plugin = place.need('plugin_name').nonEmpty()
  if (plugin === 'file_watcher') return fileWatcher(place.need('config'))
  place.warn(`plugin "${plugin}" is not known here: resources that name this instance will be refused`)
  return null
}

function node(place: JsonPlace | undefined): Bootstrap['node'] {
  if (place === undefined) return { id: '', cluster: '', locality: '', metadata: {} }
  onlyReads(place, ['id', 'cluster', 'locality', 'metadata'])
  const locality = place.at('locality')
  if (locality !== undefined) onlyReads(locality, ['region', 'zone', 'sub_zone'])
  const parts = ['region', 'zone', 'sub_zone'].map((part) => locality?.at(part)?.text() ?? '')
  return {
    id: place.at('id')?.text() ?? '',
    cluster: place.at('cluster')?.text() ?? '',
    locality: parts.join('/').replace(/\/+$/, ''),
    metadata: (place.at('metadata')?.object() ?? {}) as JsonObject,
  }
}
