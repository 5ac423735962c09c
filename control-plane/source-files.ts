import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import { pathToFileURL } from 'node:url'
import { InmeshError, type Problem } from '../src/errors.ts'
import type { MeshDefinition } from './definition.ts'

/** Several files as one text of several documents, with the way back from its lines to the files'. */
export interface Sources {
  readonly text: string
  /** Names the file that a problem is about, and its line there. */
  place(problem: Problem): Problem
}

const SEPARATOR = '\n---\n'
const extension = /\.(?:ya?ml|json)$/
const moduleExtension = /\.[cm]?[jt]s$/

interface SourceFile {
  readonly name: string
  readonly text: string
  /** Its lines are the resources of a definition, each one document, with a separator between them. */
  readonly isDefinition?: boolean
}

/**
 * Reads files, folders (their .yaml, .yml and .json files by name; `recursive` = folders inside too), modules whose default
 * export is a mesh definition, and "-", standard input.
 * @throws InmeshError ERR_INMESH_INVALID_CONFIG when one cannot be read or a folder has nothing to apply
 */
export async function readSources(paths: readonly string[], recursive: boolean): Promise<Sources> {
  const files: SourceFile[] = []
  for (const path of paths) {
    if (path === '-') files.push({ name: 'stdin', text: await readAll(process.stdin) })
    else if (moduleExtension.test(path)) files.push(definitionFile(path, await importDefinition(path)))
    else for (const name of await expand(path, recursive)) files.push({ name, text: await readText(name) })
  }
  return joinSources(files)
}

/** A definition as text, with problems at `resources[i]`. */
export function definitionText(definition: MeshDefinition): Sources {
  return joinSources([definitionFile('', definition)])
}

export function joinSources(files: readonly SourceFile[]): Sources {
  const starts: { name: string; line: number; isDefinition: boolean }[] = []
  let text = ''
  let line = 1
  for (const file of files) {
    if (starts.length > 0) {
      text += SEPARATOR
      line += 2
    }
    starts.push({ name: file.name, line, isDefinition: file.isDefinition ?? false })
    text += file.text
    line += file.text.split('\n').length - 1
  }
  return {
    text,
    place(problem) {
      const at = problem.line
      const file = at === undefined ? undefined : starts.findLast((s) => s.line <= at)
      if (at !== undefined && file?.isDefinition) return inDefinition(problem, file.name, at - file.line)
      if (at !== undefined && file !== undefined) return { ...problem, file: file.name, line: at - file.line + 1 }
      return starts.length === 1 ? { ...problem, file: starts[0]!.name } : problem
    },
  }
}

/** Modules are read as they are now: a fragment makes each state of the file another module. */
async function importDefinition(path: string): Promise<unknown> {
  try {
    const { mtimeMs } = await stat(path)
    const loaded: { default?: unknown } = await import(`${pathToFileURL(path).href}#${mtimeMs}`)
    return loaded.default
  } catch (error) {
    throw unreadable(path, error)
  }
}

function definitionFile(name: string, definition: unknown): SourceFile {
  const resources =
    typeof definition === 'object' && definition !== null && 'resources' in definition
      ? definition.resources
      : undefined
  if (!Array.isArray(resources))
    throw invalid(`${name === '' ? 'the definition' : `${name}: the default export`} is not a mesh: use defineMesh()`)
  return {
    name,
    text: resources.map((resource: unknown) => JSON.stringify(resource ?? null)).join(SEPARATOR),
    isDefinition: true,
  }
}

/** Lines of a definition are nothing that its writer has seen: the path says which resource it is. */
function inDefinition(problem: Problem, file: string, line: number): Problem {
  const { line: _, column: __, field, ...rest } = problem
  const path = `resources[${Math.floor(line / 2)}]${field === undefined ? '' : `.${field}`}`
  return { ...rest, ...(file === '' ? {} : { file }), field: path }
}

async function expand(path: string, recursive: boolean): Promise<string[]> {
  const info = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error)
  })
  if (!info.isDirectory()) return [path]
  const entries = await readdir(path, { recursive, withFileTypes: true })
  const names = entries
    .filter((entry) => !entry.isDirectory() && extension.test(entry.name) && !entry.name.startsWith('.'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
  if (names.length === 0) throw invalid(`${path} has no .yaml, .yml or .json file`)
  return names
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): InmeshError {
  const { code, message } = error as NodeJS.ErrnoException
  return invalid(`${path}: ${code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission' : message}`)
}

function invalid(message: string): InmeshError {
  return new InmeshError('ERR_INMESH_INVALID_CONFIG', message)
}
