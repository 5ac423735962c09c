import { Command } from 'commander'
import { formatProblem } from '../../src/errors.ts'
import type { ApplyOutcome } from '../apply.ts'
import { readSources } from '../source-files.ts'
import { AdminClient, type ConnectionFlags, Refused, withConnection } from './admin-client.ts'
import { Failure } from './failure.ts'

interface Flags extends ConnectionFlags {
  readonly filename: string[]
  readonly recursive: boolean
  readonly dryRun: boolean
  readonly namespace?: string
}

/** `inmesh apply -f FILE|DIR|-`: all documents or none. */
export function applyCommand(): Command {
  return withConnection(new Command('apply'))
    .description('create or change configuration objects from YAML or JSON, all or none')
    .requiredOption('-f, --filename <path...>', 'file, folder, module that exports a mesh, or - for standard input')
    .option('-R, --recursive', 'folders inside folders too', false)
    .option('--dry-run', 'check and say what would happen', false)
    .option('-n, --namespace <name>', 'of objects that name none')
    .action(async (flags: Flags) => {
      const sources = await readSources(flags.filename, flags.recursive)
      const query = new URLSearchParams({ dryRun: String(flags.dryRun) })
      if (flags.namespace !== undefined) query.set('namespace', flags.namespace)
      const init = { method: 'POST', body: sources.text, headers: { 'content-type': 'application/yaml' } }
      const outcome = await new AdminClient(flags)
        .json<ApplyOutcome>(`/v1/apply?${query}`, init)
        .catch((error: unknown) => {
          if (!(error instanceof Refused) || error.problem.errors === undefined) throw error
          const errors = error.problem.errors.filter((p) => p.severity === 'error')
          const lines = errors.map((p) => formatProblem(sources.place(p)))
          throw new Failure([...lines, error.problem.detail].join('\n'))
        })
      for (const warning of outcome.warnings) process.stderr.write(`${describe(sources.place(warning))}\n`)
      const note = flags.dryRun ? ' (dry run)' : ''
      for (const { key, change } of outcome.results)
        process.stdout.write(`${key.kind} ${key.namespace}/${key.name} ${change}${note}\n`)
    })
}

function describe(problem: Parameters<typeof formatProblem>[0]): string {
  const text = formatProblem(problem)
  return problem.severity === 'warning' ? `warning: ${text}` : text
}
