import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { text as readAll } from 'node:stream/consumers'
import type { Problem } from '../../src/errors.ts'
import { Failure } from './failure.ts'

/** Several files as one text of several documents, with the way back from its lines to the files'. */
export interface Sources {
  readonly text: string
  /** Names the file that a problem is about, and its line there. */
  place(problem: Problem): Problem
}

const SEPARATOR = '\n---\n'
const extension = /\.(?:ya?ml|json)$/

/**
 * Reads files, folders (their .yaml, .yml and .json files by name; `recursive` = folders inside too) and "-", standard input.
 * Throws Failure when one cannot be read or a folder has nothing to apply.
 */
export async function readSources(paths: readonly string[], recursive: boolean): Promise<Sources> {
  const files: { name: string; text: string }[] = []
  for (const path of paths) {
    if (path === '-') files.push({ name: 'stdin', text: await readAll(process.stdin) })
    else for (const name of await expand(path, recursive)) files.push({ name, text: await readText(name) })
  }
  return joinSources(files)
}

export function joinSources(files: readonly { name: string; text: string }[]): Sources {
  const starts: { name: string; line: number }[] = []
  let text = ''
  let line = 1
  for (const file of files) {
    if (starts.length > 0) {
      text += SEPARATOR
      line += 2
    }
    starts.push({ name: file.name, line })
    text += file.text
    line += file.text.split('\n').length - 1
  }
  return {
    text,
    place(problem) {
      const at = problem.line
      const file = at === undefined ? undefined : starts.findLast((s) => s.line <= at)
      if (at !== undefined && file !== undefined) return { ...problem, file: file.name, line: at - file.line + 1 }
      return starts.length === 1 ? { ...problem, file: starts[0]!.name } : problem
    },
  }
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
  if (names.length === 0) throw new Failure(`${path} has no .yaml, .yml or .json file`)
  return names
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): Failure {
  const { code, message } = error as NodeJS.ErrnoException
  return new Failure(`${path}: ${code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission' : message}`)
}
