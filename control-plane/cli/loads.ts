import { Command, Option } from 'commander'
import type { LoadRow } from '../loads/load-table.ts'
import { AdminClient, type ConnectionFlags, withConnection } from './admin-client.ts'

interface Flags extends ConnectionFlags {
  readonly output: 'table' | 'json'
  readonly cluster?: string
}

/** `inmesh loads`: what clients say became of their calls. */
export function loadsCommand(): Command {
  return withConnection(new Command('loads'))
    .description('show the latest load report of each client: calls per cluster and locality')
    .option('--cluster <text>', 'only clusters whose name contains it')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .action(async (flags: Flags) => {
      const query = flags.cluster === undefined ? '' : `?cluster=${encodeURIComponent(flags.cluster)}`
      const report = await new AdminClient(flags).json<{ readonly items: readonly LoadRow[] }>(`/v1/loads${query}`)
      process.stdout.write(flags.output === 'json' ? `${JSON.stringify(report, null, 2)}\n` : formatLoads(report.items))
    })
}

/** One line per client, cluster and locality; counts are those of the interval. */
export function formatLoads(rows: readonly LoadRow[]): string {
  if (rows.length === 0) return 'no client has reported\n'
  const head = ['CLIENT', 'CLUSTER', 'LOCALITY', 'CALLS', 'FAILED', 'ACTIVE', 'DROPPED', 'PER SECOND', 'AGE', 'METRICS']
  const lines = rows.map((row) => [
    row.nodeId,
    row.cluster,
    `${row.locality || '-'}${row.priority === 0 ? '' : ` (${row.priority})`}`,
    String(row.issued),
    String(row.failed),
    String(row.inProgress),
    String(row.dropped),
    row.intervalMs > 0 ? ((row.issued * 1_000) / row.intervalMs).toFixed(1) : '-',
    `${Math.round(row.ageMs / 1_000)} s`,
    Object.entries(row.metrics)
      .map(([name, mean]) => `${name}=${Number(mean.toPrecision(3))}`)
      .join(' ') || '-',
  ])
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i]!.length)))
  return [head, ...lines]
    .map(
      (line) =>
        `${line
          .map((text, i) => text.padEnd(widths[i]!))
          .join('   ')
          .trimEnd()}\n`,
    )
    .join('')
}
