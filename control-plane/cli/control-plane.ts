import { Command, Option } from 'commander'
import { jsonLogger, type LogLevel } from '../../src/model/logger.ts'
import { adminTokenPath } from '../api/auth.ts'
import { defaultDataDir, defaults } from '../options.ts'
import { duration } from './duration.ts'
import { Failure } from './failure.ts'

interface Flags {
  readonly dataDir: string
  readonly listen: string
  readonly admin: string
  readonly insecureXds?: string
  readonly trustDomain: string
  readonly domain: string
  readonly rootNamespace: string
  readonly registryOnly: boolean
  readonly certTtl: number
  readonly registrationGrace: number
  readonly startupGrace: number
  readonly loadReports: boolean
  readonly loadReportInterval: number
  readonly logLevel: string
}

/** `inmesh control-plane`: runs until SIGTERM or SIGINT. */
export function controlPlaneCommand(): Command {
  return new Command('control-plane')
    .description('run the control plane: xDS, certificate authority, registry, admin API')
    .option('--data-dir <dir>', 'store, CA key and admin token', defaultDataDir())
    .option('--listen <host:port>', 'TLS port of xDS, CA and registry', defaults.listen)
    .option('--admin <host:port>', 'admin API', defaults.admin)
    .option('--insecure-xds <host:port>', 'plaintext xDS for foreign clients in development, loopback only')
    .option('--trust-domain <name>', 'of the SPIFFE ids', defaults.trustDomain)
    .option('--domain <name>', 'of service names', defaults.domain)
    .option('--root-namespace <name>', 'whose policies hold for all namespaces', defaults.rootNamespace)
    .option('--registry-only', 'answer 502 to calls of hosts that nobody knows', false)
    .addOption(time('--cert-ttl', 'lifetime of workload certificates', defaults.certTtlMs, '24h'))
    .addOption(
      time(
        '--registration-grace',
        'how long endpoints stay when their stream breaks',
        defaults.registrationGraceMs,
        '10s',
      ),
    )
    .addOption(
      time(
        '--startup-grace',
        'how long stored endpoints wait for their workloads after a start',
        defaults.startupGraceMs,
        '60s',
      ),
    )
    .option('--load-reports', "inmesh's own clients report what becomes of their calls, too: see inmesh loads", false)
    .addOption(time('--load-report-interval', 'how often clients report', defaults.loadReportIntervalMs, '10s'))
    .option('--log-level <level>', 'debug, info, warn or error', 'info')
    .action(runControlPlane)
}

/** `words` are the default as people write it. */
function time(flag: string, description: string, ms: number, words: string): Option {
  return new Option(`${flag} <duration>`, description).default(ms, words).argParser(duration)
}

async function runControlPlane(flags: Flags): Promise<void> {
  // The heavy part, loaded by this command alone.
  const { startControlPlane } = await import('../start.ts')
  // From now on: whoever reads the lines below may send a signal at once.
  const stopped = stopSignal()
  const controlPlane = await startControlPlane({
    dataDir: flags.dataDir,
    listen: flags.listen,
    admin: flags.admin,
    insecureXds: flags.insecureXds,
    trustDomain: flags.trustDomain,
    domain: flags.domain,
    rootNamespace: flags.rootNamespace,
    outboundTrafficPolicy: flags.registryOnly ? 'REGISTRY_ONLY' : 'ALLOW_ANY',
    certTtlMs: flags.certTtl,
    registrationGraceMs: flags.registrationGrace,
    startupGraceMs: flags.startupGrace,
    loadReports: flags.loadReports,
    loadReportIntervalMs: flags.loadReportInterval,
    logger: jsonLogger(logLevel(flags.logLevel), { component: 'control-plane' }),
  })
  const { ports, address, adminUrl } = controlPlane
  process.stdout.write(
    `xDS, CA and registry on ${address} (TLS)\n${
      ports.insecureXds === undefined ? '' : `xDS without TLS, for development, on port ${ports.insecureXds}\n`
    }admin API on ${adminUrl} (token in ${adminTokenPath(flags.dataDir)})\n`,
  )
  await stopped
  await controlPlane.close()
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.once(signal, () => {
        resolve()
        // A second one does not wait.
        process.once(signal, () => process.exit(1))
      })
    }
  })
}

function logLevel(text: string): LogLevel {
  if (text === 'debug' || text === 'info' || text === 'warn' || text === 'error') return text
  throw new Failure(`--log-level is "${text}": expected debug, info, warn or error`, 2)
}
