import { homedir } from 'node:os'
import { join } from 'node:path'
import type { Logger } from '../src/model/logger.ts'

/** What a control plane is started with; everything has a default. Times in ms. */
export interface ControlPlaneOptions {
  /** Store, CA key and admin token live here, mode 0700. Default ~/.local/state/inmesh/control-plane. */
  readonly dataDir?: string
  /** TLS address of xDS, CA and registry, "host:port"; port 0 = any free one. Default "0.0.0.0:15012". */
  readonly listen?: string
  /** Admin REST address. Default "127.0.0.1:15014". */
  readonly admin?: string
  /** Plaintext xDS for foreign clients in development; loopback addresses only. Default off. */
  readonly insecureXds?: string
  /** Default "cluster.local". */
  readonly trustDomain?: string
  /** Default "istio-system". */
  readonly rootNamespace?: string
  /** Domain of service names. Default "cluster.local". */
  readonly domain?: string
  /** What becomes of hosts that nobody knows. Default 'ALLOW_ANY'. */
  readonly outboundTrafficPolicy?: 'ALLOW_ANY' | 'REGISTRY_ONLY'
  /** Lifetime of the certificates that it issues; 0 < x. Default 24 h. */
  readonly certTtlMs?: number
  /** How long endpoints stay when the stream that registered them breaks. Default 10 s. */
  readonly registrationGraceMs?: number
  /** How long stored endpoints stay after a start, until their workloads are back. Default 60 s. */
  readonly startupGraceMs?: number
  /** Streams that one identity (or, on the plaintext port, one address) may hold at once. Default 1,000. */
  readonly maxStreamsPerIdentity?: number
  /** inmesh's own clients report what becomes of their calls, too (LRS); gRPC clients always do. Default false. */
  readonly loadReports?: boolean
  /** How often clients report, ms, at least 1,000. Default 10 s. */
  readonly loadReportIntervalMs?: number
  /** ms until a TLS handshake must be complete. Default 10 s. */
  readonly handshakeTimeoutMs?: number
  /** Default: JSON lines on stderr, level info. */
  readonly logger?: Logger
}

/** Where `inmesh control-plane` keeps its state unless told otherwise. */
export function defaultDataDir(): string {
  return join(homedir(), '.local/state/inmesh/control-plane')
}

export const defaults = {
  listen: '0.0.0.0:15012',
  admin: '127.0.0.1:15014',
  trustDomain: 'cluster.local',
  rootNamespace: 'istio-system',
  domain: 'cluster.local',
  outboundTrafficPolicy: 'ALLOW_ANY',
  certTtlMs: 24 * 3_600_000,
  registrationGraceMs: 10_000,
  startupGraceMs: 60_000,
  maxStreamsPerIdentity: 1_000,
  handshakeTimeoutMs: 10_000,
  loadReports: false,
  loadReportIntervalMs: 10_000,
} as const
