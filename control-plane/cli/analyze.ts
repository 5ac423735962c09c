import { readFile } from 'node:fs/promises'
import { Command, Option } from 'commander'
import { parse } from 'yaml'
import { InmeshError } from '../../src/errors.ts'
import { analyze, type Finding } from '../analyze/analyze.ts'
import type { MeshState } from '../api/state.ts'
import { type ImaginedServices, imagineEndpoints } from '../explain/imagine.ts'
import { defaults } from '../options.ts'
import { alignColumns } from '../resources/output.ts'
import { readSources } from '../source-files.ts'
import { AdminClient, type ConnectionFlags, withConnection } from './admin-client.ts'
import { explain, Failure } from './failure.ts'

interface Flags extends ConnectionFlags {
  readonly filename?: string[]
  readonly recursive: boolean
  readonly live: boolean
  readonly services?: string
  readonly namespace?: string
  readonly failOn: 'warning' | 'error'
  readonly output: 'table' | 'json'
}

/** `inmesh analyze`: exits with 0 (nothing as bad as --fail-on), 1 (something is) or 2 (it could not be looked at). */
export function analyzeCommand(): Command {
  return withConnection(new Command('analyze'))
    .description('what is wrong or doubtful in files, in the live store, or in files as applied over it')
    .option('-f, --filename <path...>', 'file, folder, module that exports a mesh, or - for standard input')
    .option('-R, --recursive', 'folders inside folders too', false)
    .option('--live', 'look at what the control plane has, with -f: with the files applied over it', false)
    .option('--services <file>', 'without --live, who is there: {"payments": {"endpoints": [{"labels": {...}}]}}')
    .option('-n, --namespace <name>', 'of objects that name none')
    .addOption(new Option('-o, --output <format>').choices(['table', 'json']).default('table'))
    .addOption(new Option('--fail-on <severity>', 'exit with 1').choices(['warning', 'error']).default('error'))
    .action(async (flags: Flags) => {
      if (flags.filename === undefined && !flags.live) throw new Failure('give -f, --live or both', 2)
      if (flags.services !== undefined && flags.live)
        throw new Failure('--services says who is there, and so does --live: give one of them', 2)
      const findings = await analysis(flags).catch((error: unknown) => {
        if (error instanceof Failure || error instanceof InmeshError) throw new Failure(explain(error), 2)
        throw error
      })
      process.stdout.write(
        flags.output === 'json' ? `${JSON.stringify(findings, null, 2)}\n` : formatFindings(findings),
      )
      if (flags.live || flags.services !== undefined || flags.output === 'json') return fail(findings, flags.failOn)
      process.stderr.write(
        'who is there is not known: say it with --live or --services to check labels and hosts too\n',
      )
      fail(findings, flags.failOn)
    })
}

async function analysis({ filename, recursive, live, services, namespace, ...connection }: Flags): Promise<Finding[]> {
  const sources = filename === undefined ? undefined : await readSources(filename, recursive)
  const state = live ? await new AdminClient(connection).json<MeshState>('/v1/state') : undefined
  const imagined = services === undefined ? undefined : await readServices(services)
  const registry = state ?? imagined
  const findings = analyze({
    text: sources?.text ?? '',
    settings: state?.settings ?? defaults,
    namespace,
    ...(state === undefined ? {} : { objects: state.objects }),
    ...(registry === undefined ? {} : { registry }),
  })
  return findings.map((finding) => ({
    ...(finding.line === undefined ? finding : sources!.place(finding)),
    code: finding.code,
  }))
}

async function readServices(path: string) {
  try {
    const endpoints = imagineEndpoints(parse(await readFile(path, 'utf8')) as ImaginedServices)
    return { endpoints, services: [] }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Failure(`${path}: ${code === 'ENOENT' ? 'no such file' : message}`, 2)
  }
}

/** One line each: place, severity and code, object, what is wrong. */
function formatFindings(findings: readonly Finding[]): string {
  if (findings.length === 0) return 'nothing found\n'
  return alignColumns(
    findings.map(({ file, line, column, severity, code, subject = '', field, message, suggestion }) => [
      file === undefined && line === undefined
        ? '-'
        : [file, line, column].filter((part) => part !== undefined).join(':'),
      `${severity} ${code}`,
      subject,
      `${field === undefined ? '' : `${field}: `}${message}${suggestion === undefined ? '' : ` (did you mean "${suggestion}"?)`}`,
    ]),
  )
}

function fail(findings: readonly Finding[], failOn: Flags['failOn']): void {
  const errors = findings.filter(({ severity }) => severity === 'error').length
  const warnings = findings.length - errors
  if (errors + (failOn === 'warning' ? warnings : 0) === 0) return
  throw new Failure(`${count(errors, 'error')}, ${count(warnings, 'warning')}`)
}

function count(n: number, what: string): string {
  return `${n} ${what}${n === 1 ? '' : 's'}`
}
