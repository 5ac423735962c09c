import { randomInt } from 'node:crypto'
import { chmod, mkdir } from 'node:fs/promises'
import type { Server } from 'node:http'
import { join } from 'node:path'
import { InmeshError } from '../src/errors.ts'
import { systemClock } from '../src/model/clock.ts'
import { jsonLogger } from '../src/model/logger.ts'
import { serveAdmin } from './api/admin-server.ts'
import { adminApp } from './api/app.ts'
import { loadAdminToken } from './api/auth.ts'
import type { CreatedToken, TokenRequest } from './api/context.ts'
import { type ApplyOptions, type ApplyOutcome, applyText } from './apply.ts'
import { mintJoinToken } from './ca/attest/join-token.ts'
import { Authority } from './ca/authority.ts'
import { type IssuedCertificate, issueCertificate, loadKeyEncryptionKey } from './ca/issue-certificate.ts'
import type { KeyEncryptionKey } from './ca/sealed-key.ts'
import { createCaService } from './ca/service.ts'
import { serveIdentity } from './ca/serving-identity.ts'
import { AdsServer } from './discovery/ads-server.ts'
import { Quota } from './discovery/caller.ts'
import { type ClientStatus, ConnectedClients } from './discovery/status.ts'
import { formatAddress, parseAddress } from './listen-address.ts'
import { LoadSink } from './loads/load-sink.ts'
import { LoadTable } from './loads/load-table.ts'
import { type ControlPlaneOptions, defaultDataDir, defaults } from './options.ts'
import { WorkloadRegistry } from './registry/service.ts'
import { type RevisionStatus, Revisions } from './revisions.ts'
import { GrpcServer } from './server.ts'
import { SqliteStore } from './store/sqlite.ts'
import type { Store } from './store/store.ts'
import { ControlPlaneMetrics } from './telemetry/metrics.ts'
import { translate } from './translate/index.ts'

/** A running control plane. */
export interface ControlPlane {
  /** As bound. */
  readonly ports: { readonly listen: number; readonly admin: number; readonly insecureXds: number | undefined }
  /** "host:port" that data planes and the CLI can dial from this machine. */
  readonly address: string
  readonly adminUrl: string
  readonly adminToken: string
  /** The root of the mesh. */
  readonly trustBundlePem: string
  /** For applyPolicy and computeTrafficSplit. */
  readonly store: Store
  /** A one-time join token for one workload. */
  createToken(request: TokenRequest): Promise<CreatedToken>
  /** Applies YAML or JSON, all or nothing; throws ConfigError. */
  apply(text: string, options?: ApplyOptions): Promise<ApplyOutcome>
  /** Certificate and key made here, for those that cannot make a CSR; the key is on record only sealed. */
  issueCertificate(service: string, namespace: string, serviceAccount: string): Promise<IssuedCertificate>
  /** Open discovery streams. */
  clients(): readonly ClientStatus[]
  /** The store revision that is being served, and why a later one is not. */
  revision(): RevisionStatus
  /** Registered endpoints: held by a stream, waiting for theirs to come back, kept as suspect. */
  registrations(): { held: number; waiting: number; suspect: number }
  /** Ends streams, waits up to `graceMs` (default 1 s) for calls, closes ports and store. */
  close(graceMs?: number): Promise<void>
}

/** Longest that a registration waits for its revision to be served, ms. */
const SERVED_TIMEOUT = 2_000
/** Longest that a workload which leaves waits until all clients know, ms. */
const HEARD_TIMEOUT = 5_000
/** Suspects of a mass expiry are kept this much longer, ms. */
const SUSPECT = 60_000

/**
 * Starts a control plane in this process. Settles when all ports are bound and the stored configuration is being served.
 *
 *     const controlPlane = await startControlPlane({ dataDir: './mesh', listen: '127.0.0.1:0', admin: '127.0.0.1:0' })
 *     const { token } = await controlPlane.createToken({ service: 'payments' })
 */
export async function startControlPlane(options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const closers: (() => Promise<unknown> | unknown)[] = []
  try {
    return await start(options, closers)
  } catch (error) {
    for (const close of closers.reverse()) await close()
    throw error
  }
}

async function start(
  options: ControlPlaneOptions,
  closers: (() => Promise<unknown> | unknown)[],
): Promise<ControlPlane> {
  checkOptions(options)
  const o = { ...defaults, ...withoutUndefined(options) }
  const logger = options.logger ?? jsonLogger('info')
  const dataDir = options.dataDir ?? defaultDataDir()
  const clock = systemClock
  const listen = parseAddress('--listen', o.listen)
  const adminAddress = parseAddress('--admin', o.admin)
  await mkdir(dataDir, { recursive: true, mode: 0o700 })
  await chmod(dataDir, 0o700)

  const store = new SqliteStore({ path: join(dataDir, 'store.db') })
  closers.push(() => store.close())
  const authority = await Authority.open({
    dataDir,
    trustDomain: o.trustDomain,
    defaultTtlMs: o.certTtlMs,
    maxTtlMs: o.certTtlMs,
  })
  const random = { u32: () => randomInt(2 ** 32) }
  const serving = await serveIdentity(authority, { logger, random })
  closers.push(() => serving.close())
  const adminToken = await loadAdminToken(dataDir)

  const quota = new Quota(o.maxStreamsPerIdentity)
  const clients = new ConnectedClients()
  const metrics: ControlPlaneMetrics = new ControlPlaneMetrics({
    revision: () => revisions.status.revision,
    endpoints: () => registry.counts,
  })
  const ads = new AdsServer({ clients, clock, logger, quota, events: metrics.discovery })
  const { trustDomain, rootNamespace, domain, outboundTrafficPolicy } = o
  const { loadReports } = o
  const settings = { trustDomain, rootNamespace, domain, outboundTrafficPolicy, loadReports }
  const revisions: Revisions = new Revisions({
    ...{ store, clock, logger, translate },
    settings,
    trustBundles: () => new Map([[trustDomain, [authority.rootPem]]]),
    publish: async (translation, since) => {
      await ads.push(translation)
      metrics.pushed((clock.now() - since) / 1000)
    },
  })
  const registry: WorkloadRegistry = new WorkloadRegistry({
    ...{ store, clock, logger, quota, domain },
    leases: { graceMs: o.registrationGraceMs, startupGraceMs: o.startupGraceMs, suspectMs: SUSPECT },
    onUrgent: () => revisions.hurry(),
    served: (revision) => revisions.served(revision, SERVED_TIMEOUT),
    heard: () => ads.endpointsAnswered(HEARD_TIMEOUT),
  })
  const loadTable = new LoadTable()
  const loads = new LoadSink({ table: loadTable, clock, quota, intervalMs: o.loadReportIntervalMs })
  const ca = createCaService({ authority, store, logger })
  const grpc = new GrpcServer({
    ...{ ads, registry, loads, ca, logger, state: serving.state },
    listen: o.listen,
    insecureXds: options.insecureXds,
    handshakeTimeoutMs: o.handshakeTimeoutMs,
  })

  await registry.start()
  closers.push(() => registry.close())
  await revisions.start()
  closers.push(() => revisions.close())

  const apply = (text: string, applyOptions: ApplyOptions = {}) =>
    applyText(store, text, { rootNamespace, domain, trustDomain, ...withoutUndefined(applyOptions) })
  const createToken = async (request: TokenRequest, actor = 'api'): Promise<CreatedToken> => {
    const { service, namespace = 'default', serviceAccount = service, ttlMs } = request
    const { id, text, spiffeId, expiresAt } = await mintJoinToken(store, authority, {
      ...{ service, namespace, serviceAccount, ttlMs },
    })
    await store.audit.append({
      ...{ at: Date.now(), actor, verb: 'create token', subject: spiffeId },
      ...{ detail: `${id} for ${service}`, result: 'ok' as const },
    })
    return { token: text, id, spiffeId, expiresAt }
  }
  const app = adminApp({
    context: {
      ...{ store, apply, createToken, metrics },
      clients: () => clients.list(clock.now()),
      loads: (cluster) => loadTable.list(clock.now(), cluster),
      revision: () => revisions.status,
      translation: () => revisions.translation,
      settings,
      faults: () => ads.faults,
      trustBundlePem: authority.rootPem,
    },
    token: adminToken,
    host: adminAddress.host,
    logger,
  })
  const admin = await serveAdmin(app, adminAddress.host, adminAddress.port, logger)
  closers.push(() => closeHttp(admin.server))
  closers.push(() => grpc.close(0))
  // Last: whoever reaches the port is served in full.
  const bound = await grpc.start()

  let kek: Promise<KeyEncryptionKey> | undefined
  let closing: Promise<void> | undefined
  return {
    ports: { listen: bound.listen, admin: admin.port, insecureXds: bound.insecureXds },
    address: formatAddress(reachable(listen.host), bound.listen),
    adminUrl: `http://${formatAddress(reachable(adminAddress.host), admin.port)}`,
    adminToken,
    trustBundlePem: authority.rootPem,
    store,
    createToken,
    apply,
    clients: () => clients.list(clock.now()),
    revision: () => revisions.status,
    registrations: () => registry.counts,
    issueCertificate: async (service, namespace, serviceAccount) => {
      kek ??= loadKeyEncryptionKey(dataDir)
      return issueCertificate(service, namespace, serviceAccount, { authority, store, kek: await kek })
    },
    close: (graceMs = 1_000) => {
      closing ??= (async () => {
        await closeHttp(admin.server)
        await grpc.close(graceMs)
        await revisions.close()
        serving.close()
        await store.close()
      })()
      return closing
    },
  }
}

function closeHttp(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve())
    server.closeAllConnections()
  })
}

/** An address that listens everywhere is dialled on loopback. */
function reachable(host: string): string {
  return host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host
}

/** Options that were not given leave the defaults in force. */
function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T
}

function checkOptions(options: ControlPlaneOptions): void {
  for (const name of ['certTtlMs', 'registrationGraceMs', 'startupGraceMs', 'handshakeTimeoutMs'] as const) {
    const value = options[name]
    if (value === undefined || (Number.isFinite(value) && value >= 0 && (name !== 'certTtlMs' || value > 0))) continue
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${name} is ${value}: expected milliseconds`)
  }
  const { loadReportIntervalMs: interval = defaults.loadReportIntervalMs } = options
  if (!(interval >= 1_000 && interval <= 86_400_000))
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      `loadReportIntervalMs is ${interval}: expected 1,000 to 86,400,000 ms`,
    )
}
