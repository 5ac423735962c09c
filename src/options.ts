import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type EmbeddedControlPlane, embeddedSource } from './embedded.ts'
import { InmeshError } from './errors.ts'
import { type ForeignControlPlane, foreignSource } from './foreign.ts'
import { jsonLogger, type Logger, type LogLevel } from './model/logger.ts'
import type { WorkloadInfo } from './model/workload.ts'
import type { Bootstrap } from './xds/bootstrap/bootstrap.ts'

/** Options of `createMesh`; each falls back to the environment variable named with it, then to the default. */
export interface MeshOptions {
  /** Name of this service, a DNS label. INMESH_SERVICE; required, but with a bootstrap, where it is the beginning of `node.cluster`. */
  service?: string
  /** INMESH_NAMESPACE; default "default". */
  namespace?: string
  /** INMESH_SERVICE_ACCOUNT; default: the service's name. */
  serviceAccount?: string
  /**
   * "host:port" of the control plane; or one inside this process: "embedded:./folder" (YAML, watched for changes) or
   * `{ embedded: defineMesh(...) }`; or any other that speaks xDS, by gRPC's bootstrap: `{ bootstrap: {...} }` or
   * `{ bootstrap: 'file.json' }`. INMESH_CONTROL_PLANE; then gRPC's own GRPC_XDS_BOOTSTRAP (a file) and
   * GRPC_XDS_BOOTSTRAP_CONFIG (the text); default "127.0.0.1:15012".
   */
  controlPlane?: string | EmbeddedControlPlane | ForeignControlPlane
  /** One-time join token. INMESH_TOKEN, or the file named by INMESH_TOKEN_FILE. Needed only where no certificate is on disk yet. */
  token?: string
  /** PEM file with the mesh's root certificates. INMESH_TRUST_BUNDLE; default: the root that the join token names. */
  trustBundleFile?: string
  /** INMESH_TRUST_DOMAIN; default "cluster.local". */
  trustDomain?: string
  /** Certificate, key and last good configuration live here. INMESH_STATE_DIR; default ~/.local/state/inmesh/<ns>/<service>. */
  stateDir?: string
  /** Labels of this workload, e.g. { version: 'v2' }. INMESH_LABELS ("version=v2,tier=back"); app=<service> is always there. */
  labels?: Record<string, string>
  /** "region/zone/subzone". INMESH_LOCALITY; default unknown. */
  locality?: string
  /** Loopback port of /ready, /metrics and /config_dump; 0 = a free one, false = none. INMESH_ADMIN_PORT; default 0. */
  adminPort?: number | false
  /** Address that other workloads dial; default: what the server listens on, or the first external IPv4 address. INMESH_ADDRESS. */
  address?: string
  /** Relative share of calls this instance gets, 1-1000; default 1. INMESH_WEIGHT. */
  weight?: number
  /** How long ready() waits, ms; default 10,000. */
  readyTimeoutMs?: number
  /**
   * Dial names of which the control plane says that they do not exist, unencrypted. Default false: such calls are answered with
   * 502. inmesh's own control plane never says so; its MeshConfig decides about unknown hosts. INMESH_DIAL_ABSENT (true, false).
   */
  dialAbsent?: boolean
  /**
   * Calls made in handling a request end when that request's caller waits no longer, and repeat nothing that other hops repeat;
   * `detach` takes single pieces of work out of it. Default true. INMESH_PROPAGATE_DEADLINES (true, false).
   */
  propagateDeadlines?: boolean
  /**
   * On SIGTERM and SIGINT: `mesh.close()`, then exit. Default true, as long as the app listens to the signal for itself
   * nowhere: then it decides, and calls `mesh.close()`. INMESH_HANDLE_SIGNALS (true, false).
   */
  handleSignals?: boolean
  /** Names this process will call: subscribed at start instead of at the first call. */
  preload?: readonly string[]
  /** Default: JSON lines on stderr from INMESH_LOG_LEVEL (debug, info, warn, error; default warn). */
  logger?: Logger
}

/** Options with nothing left open. */
export interface ResolvedOptions {
  workload: WorkloadInfo
  /** createMesh turns an embedded one into its address before anything dials. */
  controlPlane: string | EmbeddedControlPlane
  /** Not null: a foreign control plane is followed, and `controlPlane` says nothing. */
  foreign: ForeignOptions | null
  token: string | null
  trustBundleFile: string | null
  stateDir: string
  adminPort: number | null
  address: string | null
  weight: number
  readyTimeoutMs: number
  dialAbsent: boolean
  handleSignals: boolean
  propagateDeadlines: boolean
  preload: readonly string[]
  logger: Logger
}

/** How a foreign control plane is followed. */
export interface ForeignOptions {
  readonly bootstrap: Bootstrap
  /** Folder of the last good configuration; null = none is kept, as gRPC's clients do. */
  readonly stateDir: string | null
}

type Env = Readonly<Record<string, string | undefined>>

/**
 * Fills in environment and defaults.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION naming the option, the variable and what was expected
 */
export function resolveOptions(options: MeshOptions, env: Env = process.env): ResolvedOptions {
  const bootstrap = foreignSource(options.controlPlane, env)
  const service = dnsLabel('service', 'INMESH_SERVICE', options.service ?? env.INMESH_SERVICE ?? serviceOf(bootstrap))
  const namespace = dnsLabel(
    'namespace',
    'INMESH_NAMESPACE',
    options.namespace ?? env.INMESH_NAMESPACE ?? textOf(bootstrap?.node.metadata.NAMESPACE) ?? 'default',
  )
  const serviceAccount = dnsLabel(
    'serviceAccount',
    'INMESH_SERVICE_ACCOUNT',
    options.serviceAccount ?? env.INMESH_SERVICE_ACCOUNT ?? service,
  )
  const labels = { ...(options.labels ?? parseLabels(env.INMESH_LABELS)), app: service }
  return {
    workload: {
      service,
      namespace,
      serviceAccount,
      trustDomain: trustDomain(options.trustDomain ?? env.INMESH_TRUST_DOMAIN ?? 'cluster.local'),
      labels,
      locality: options.locality ?? env.INMESH_LOCALITY ?? bootstrap?.node.locality ?? '',
      instanceId: `${service}-${randomBytes(6).toString('hex')}`,
    },
    controlPlane:
      bootstrap === undefined ? controlPlane(options.controlPlane ?? (env.INMESH_CONTROL_PLANE || ownAddress)) : '',
    foreign:
      bootstrap === undefined ? null : { bootstrap, stateDir: options.stateDir ?? (env.INMESH_STATE_DIR || null) },
    token: options.token ?? env.INMESH_TOKEN ?? tokenFile(env.INMESH_TOKEN_FILE),
    trustBundleFile: options.trustBundleFile ?? env.INMESH_TRUST_BUNDLE ?? null,
    stateDir: options.stateDir ?? env.INMESH_STATE_DIR ?? join(homedir(), '.local/state/inmesh', namespace, service),
    adminPort:
      options.adminPort === false
        ? null
        : integer('adminPort', 'INMESH_ADMIN_PORT', options.adminPort ?? env.INMESH_ADMIN_PORT ?? 0, 0, 65_535),
    address: options.address ?? env.INMESH_ADDRESS ?? null,
    weight: integer('weight', 'INMESH_WEIGHT', options.weight ?? env.INMESH_WEIGHT ?? 1, 1, 1000),
    readyTimeoutMs: integer('readyTimeoutMs', '', options.readyTimeoutMs ?? 10_000, 1, 86_400_000),
    dialAbsent: options.dialAbsent ?? yesOrNo('dialAbsent', 'INMESH_DIAL_ABSENT', env.INMESH_DIAL_ABSENT),
    propagateDeadlines:
      options.propagateDeadlines ??
      yesOrNo('propagateDeadlines', 'INMESH_PROPAGATE_DEADLINES', env.INMESH_PROPAGATE_DEADLINES, true),
    handleSignals:
      options.handleSignals ?? yesOrNo('handleSignals', 'INMESH_HANDLE_SIGNALS', env.INMESH_HANDLE_SIGNALS, true),
    preload: options.preload ?? [],
    logger: options.logger ?? jsonLogger(logLevel(env.INMESH_LOG_LEVEL), { service }),
  }
}

function invalid(option: string, variable: string, expected: string, found: unknown): InmeshError {
  const name = variable === '' ? option : `${option} (or ${variable})`
  const what = found === undefined || found === '' ? 'is missing' : `is ${JSON.stringify(found)}`
  return new InmeshError('ERR_INMESH_INVALID_OPTION', `${name} ${what}: expected ${expected}`)
}

function dnsLabel(option: string, variable: string, value: string | undefined): string {
  if (value === undefined || !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(value))
    throw invalid(option, variable, 'a DNS label: lower-case letters, digits and inner hyphens, at most 63', value)
  return value
}

function trustDomain(value: string): string {
  if (!/^[a-z0-9._-]{1,255}$/.test(value))
    throw invalid('trustDomain', 'INMESH_TRUST_DOMAIN', 'a trust domain: a-z, 0-9, ".", "-" and "_"', value)
  return value
}

const ownAddress = '127.0.0.1:15012'

function controlPlane(value: string | EmbeddedControlPlane | ForeignControlPlane): string | EmbeddedControlPlane {
  if (typeof value === 'object' && !('embedded' in value))
    throw invalid('controlPlane', '', '{ embedded: ... } or { bootstrap: ... }', value)
  return embeddedSource(value) === undefined ? hostPort(value as string) : value
}

/** The beginning of the node's cluster, which is a name of the service wherever it is one at all. */
function serviceOf(bootstrap: Bootstrap | undefined): string | undefined {
  const name = bootstrap?.node.cluster.split('.')[0]
  return name === '' ? undefined : name
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function hostPort(value: string): string {
  const port = /^(?:\[[0-9a-fA-F:.]+\]|[^:/\s]+):([0-9]{1,5})$/.exec(value)?.[1]
  if (port === undefined || Number(port) < 1 || Number(port) > 65_535)
    throw invalid('controlPlane', 'INMESH_CONTROL_PLANE', '"host:port", "embedded:FOLDER" or { embedded: ... }', value)
  return value
}

function integer(option: string, variable: string, value: string | number, least: number, most: number): number {
  const number = typeof value === 'number' ? value : /^[0-9]+$/.test(value) ? Number(value) : Number.NaN
  if (!Number.isInteger(number) || number < least || number > most)
    throw invalid(option, variable, `a whole number from ${least} to ${most}`, value)
  return number
}

function yesOrNo(option: string, variable: string, text: string | undefined, otherwise = false): boolean {
  if (text === undefined || text === '') return otherwise
  if (text === 'false') return false
  if (text === 'true') return true
  throw invalid(option, variable, 'true or false', text)
}

function parseLabels(text: string | undefined): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const part of (text ?? '').split(',')) {
    if (part.trim() === '') continue
    const at = part.indexOf('=')
    if (at < 1) throw invalid('labels', 'INMESH_LABELS', 'key=value pairs separated by commas', text)
    labels[part.slice(0, at).trim()] = part.slice(at + 1).trim()
  }
  return labels
}

function tokenFile(path: string | undefined): string | null {
  if (path === undefined || path === '') return null
  try {
    return readFileSync(path, 'utf8').trim()
  } catch (cause) {
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `INMESH_TOKEN_FILE: cannot read ${path}`, { cause })
  }
}

function logLevel(text: string | undefined): LogLevel {
  if (text === undefined || text === '') return 'warn'
  if (text === 'debug' || text === 'info' || text === 'warn' || text === 'error') return text
  throw invalid('logger', 'INMESH_LOG_LEVEL', 'debug, info, warn or error', text)
}
