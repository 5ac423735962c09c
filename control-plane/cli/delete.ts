import { Command } from 'commander'
import { formatProblem } from '../../src/errors.ts'
import { readSources } from '../source-files.ts'
import { AdminClient, type ConnectionFlags, Refused, withConnection } from './admin-client.ts'
import { Failure } from './failure.ts'

interface Flags extends ConnectionFlags {
  readonly filename?: string[]
  readonly recursive: boolean
  readonly namespace?: string
}

interface Target {
  readonly kind: string
  readonly namespace: string
  readonly name: string
}

/** `inmesh delete KIND NAME` or `inmesh delete -f FILE|DIR|-`. */
export function deleteCommand(): Command {
  return withConnection(new Command('delete'))
    .description('delete configuration objects')
    .argument('[kind]')
    .argument('[name]')
    .option('-f, --filename <path...>', 'delete what these files describe')
    .option('-R, --recursive', 'folders inside folders too', false)
    .option('-n, --namespace <name>', 'default "default"')
    .action(async (kind: string | undefined, name: string | undefined, flags: Flags) => {
      const client = new AdminClient(flags)
      const missing: string[] = []
      for (const target of await targets(kind, name, flags)) {
        const path = `/v1/${[target.kind, target.namespace, target.name].map(encodeURIComponent).join('/')}`
        try {
          await client.request(path, { method: 'DELETE' })
          process.stdout.write(`${target.kind} ${target.namespace}/${target.name} deleted\n`)
        } catch (error) {
          if (!(error instanceof Refused) || error.problem.status !== 404) throw error
          missing.push(error.problem.detail)
        }
      }
      if (missing.length > 0) throw new Failure(missing.join('\n'))
    })
}

async function targets(kind: string | undefined, name: string | undefined, flags: Flags): Promise<Target[]> {
  const { filename, recursive, namespace = 'default' } = flags
  if (filename === undefined) {
    if (kind === undefined || name === undefined) throw new Failure('delete needs KIND and NAME, or -f', 2)
    return [{ kind, namespace, name }]
  }
  if (kind !== undefined) throw new Failure('delete takes either KIND and NAME, or -f', 2)
  const sources = await readSources(filename, recursive)
  // Loaded by this command alone.
  const { parseDocuments } = await import('../resources/document.ts')
  const { documents, problems } = parseDocuments(sources.text)
  const errors = problems.filter((p) => p.severity === 'error')
  if (errors.length > 0) throw new Failure(errors.map((p) => formatProblem(sources.place(p))).join('\n'))
  return documents.map(({ value }) => {
    const { kind: k, metadata } = (value ?? {}) as {
      kind?: unknown
      metadata?: { name?: unknown; namespace?: unknown }
    }
    if (typeof k !== 'string' || typeof metadata?.name !== 'string')
      throw new Failure('each document needs kind and metadata.name to be deleted')
    const own = typeof metadata.namespace === 'string' ? metadata.namespace : namespace
    return { kind: k, namespace: own, name: metadata.name }
  })
}
