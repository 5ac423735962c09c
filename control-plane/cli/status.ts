import { setTimeout as sleep } from 'node:timers/promises'
import { Command, InvalidArgumentError, Option } from 'commander'
import type { ClientStatus, ClientTypeStatus } from '../discovery/status.ts'
import { AdminClient, type ConnectionFlags, Refused, withConnection } from './admin-client.ts'
import { duration } from './duration.ts'
import { Failure } from './failure.ts'

interface Flags extends ConnectionFlags {
  readonly output: 'table' | 'json'
  readonly wait?: true | number
  readonly timeout: number
}

export interface StatusReport {
  readonly revision: number
  readonly error: string
  readonly faults: readonly string[]
  readonly clients: readonly ClientStatus[]
}

const shortNames: Readonly<Record<string, string>> = {
  Listener: 'LDS',
  RouteConfiguration: 'RDS',
  Cluster: 'CDS',
  ClusterLoadAssignment: 'EDS',
  Secret: 'SDS',
}
const columns = ['LDS', 'RDS', 'CDS', 'EDS', 'SDS'] as const

/** `inmesh status`: each client, and whether it has what it should have. */
export function statusCommand(): Command {
  return withConnection(new Command('status'))
    .description('show the control plane and every connected client; exit code 1 when a client refuses configuration')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .option('--wait [clients]', 'wait until it answers and so many clients are connected and in sync', count)
    .option('--timeout <duration>', 'how long to wait', duration, 30_000)
    .action(async (flags: Flags) => {
      const client = new AdminClient(flags)
      const report = flags.wait === undefined ? await read(client) : await waitFor(client, flags)
      process.stdout.write(flags.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : formatStatus(report))
      const refusals = formatRefusals(report)
      if (refusals !== '') throw new Failure(refusals)
    })
}

function read(client: AdminClient): Promise<StatusReport> {
  return client.json<StatusReport>('/v1/clients')
}

async function waitFor(client: AdminClient, flags: Flags): Promise<StatusReport> {
  const wanted = flags.wait === true ? 0 : (flags.wait ?? 0)
  const deadline = performance.now() + flags.timeout
  for (;;) {
    let last: string
    try {
      const report = await read(client)
      const ready = report.clients.filter(
        (c) => c.types.length > 0 && c.types.every((t) => t.state === 'SYNCED'),
      ).length
      if (ready >= wanted) return report
      last = `${ready} of ${wanted} clients are connected and in sync`
    } catch (error) {
      // Answers like "wrong token" do not get better by waiting.
      if (!(error instanceof Failure) || error instanceof Refused) throw error
      last = error.message
    }
    if (performance.now() >= deadline) throw new Failure(last)
    await sleep(100)
  }
}

/** One line per client, one column per type. */
export function formatStatus(report: StatusReport): string {
  const head = ['CLIENT', 'SERVICE', 'IDENTITY', 'ADDRESS', ...columns]
  const rows = report.clients.map((c) => [
    c.nodeId,
    c.service === '' ? '-' : `${c.service}.${c.namespace}`,
    c.spiffeId || '(plaintext)',
    c.address,
    ...columns.map((column) => cell(c.types.find((t) => shortName(t) === column))),
  ])
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)))
  const line = (row: readonly string[]) =>
    `${row
      .map((text, i) => text.padEnd(widths[i]!))
      .join('   ')
      .trimEnd()}\n`
  const summary = `revision ${report.revision}, ${report.clients.length} clients\n`
  return summary + (rows.length === 0 ? '' : [head, ...rows].map(line).join(''))
}

/** What clients refuse and what cannot be served; '' = all is well. */
export function formatRefusals(report: StatusReport): string {
  const lines = report.error === '' ? [] : [`not served: ${report.error}`]
  for (const fault of report.faults) lines.push(`not served: ${fault}`)
  for (const c of report.clients) {
    for (const t of c.types) {
      if (t.state === 'NACK') lines.push(`${c.nodeId} refuses ${shortName(t)} ${t.sentVersion}: ${t.reason}`)
    }
  }
  return lines.join('\n')
}

function cell(type: ClientTypeStatus | undefined): string {
  if (type === undefined) return '-'
  return type.ackedVersion === '' ? type.state : `${type.state} (${type.ackedVersion})`
}

function shortName({ typeUrl }: ClientTypeStatus): string {
  const name = typeUrl.slice(typeUrl.lastIndexOf('.') + 1)
  return shortNames[name] ?? name
}

function count(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw new InvalidArgumentError('expected a number of clients.')
  return Number(text)
}
