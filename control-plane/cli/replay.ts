import { readFile } from 'node:fs/promises'
import { Command, Option } from 'commander'
import { parse } from 'yaml'
import { ConfigError, formatProblem } from '../../src/errors.ts'
import type { MeshState } from '../api/state.ts'
import { type ImaginedServices, imagineEndpoints } from '../explain/imagine.ts'
import { type OfflineMesh, offlineTranslation } from '../explain/offline.ts'
import { parseRecording } from '../explain/recording.ts'
import { formatReplay, replay } from '../explain/replay.ts'
import { readSources } from '../source-files.ts'
import type { Translation } from '../translate/types.ts'
import { AdminClient, type ConnectionFlags, withConnection } from './admin-client.ts'
import { Failure } from './failure.ts'

interface Flags extends ConnectionFlags {
  readonly filename: string[]
  readonly recursive: boolean
  readonly against?: string[]
  readonly services?: string
  readonly replace: boolean
  readonly failOnChange: boolean
  readonly output: 'text' | 'json'
}

/** `inmesh replay RECORDING -f CANDIDATE`: what a configuration would decide otherwise about recorded requests. */
export function replayCommand(): Command {
  return withConnection(new Command('replay'))
    .description('what a candidate configuration would decide otherwise about recorded requests')
    .argument('<recording>', 'JSON lines, as mesh.record writes them')
    .requiredOption('-f, --filename <path...>', 'the candidate: file, folder, or - for standard input')
    .option('-R, --recursive', 'folders inside folders too', false)
    .option('--replace', 'the candidate is everything, instead of being applied over what the control plane has', false)
    .option('--against <path...>', 'compare with these files instead of with the control plane; needs --services')
    .option('--services <file>', 'who is there: {"payments": {"endpoints": [{"labels": {"version": "v1"}}]}}')
    .option('--fail-on-change', 'exit with 1 when anything is decided otherwise', false)
    .addOption(new Option('-o, --output <format>').choices(['text', 'json']).default('text'))
    .action(async (recording: string, flags: Flags) => {
      const { requests, problems } = parseRecording(await read(recording), recording)
      for (const problem of problems) process.stderr.write(`warning: ${formatProblem(problem)}\n`)
      const { before, after } = await translations(flags)
      const report = replay(requests, before, after)
      const text = flags.output === 'json' ? JSON.stringify(report, null, 2) : formatReplay(report)
      process.stdout.write(`${text}\n`)
      if (flags.failOnChange && report.changed > 0)
        throw new Failure(`${report.changed} of ${report.requests} requests are decided otherwise`)
    })
}

async function translations(flags: Flags): Promise<{ before: Translation; after: Translation }> {
  const { against, services, filename, recursive } = flags
  if (against !== undefined) {
    if (services === undefined) throw new Failure('--against needs --services: nobody else says who is there', 2)
    const endpoints = imagineEndpoints(parse(await read(services)) as ImaginedServices)
    return {
      before: await translationOf(against, recursive, { endpoints }),
      after: await translationOf(filename, recursive, { endpoints }),
    }
  }
  const state = await new AdminClient(flags).json<MeshState>('/v1/state')
  const { settings, endpoints, services: known, objects } = state
  const base = { settings, endpoints, services: known }
  return {
    before: offlineTranslation({ ...base, text: '', objects }),
    after: await translationOf(filename, recursive, flags.replace ? base : { ...base, objects }),
  }
}

async function translationOf(
  paths: readonly string[],
  recursive: boolean,
  mesh: Omit<OfflineMesh, 'text'>,
): Promise<Translation> {
  const sources = await readSources(paths, recursive)
  try {
    return offlineTranslation({ ...mesh, text: sources.text })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const errors = error.problems.filter((p) => p.severity === 'error')
    throw new Failure(errors.map((p) => formatProblem(sources.place(p))).join('\n'))
  }
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Failure(`${path}: ${code === 'ENOENT' ? 'no such file' : message}`)
  }
}
