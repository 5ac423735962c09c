import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** One fenced block of a recipe: a file that it makes, or lines that change in one that is there. */
export type Edit =
  | { readonly kind: 'create'; readonly file: string; readonly text: string }
  | { readonly kind: 'change'; readonly file: string; readonly hunks: readonly Hunk[] }

interface Hunk {
  readonly before: readonly string[]
  readonly after: readonly string[]
}

export interface Step {
  readonly title: string
  readonly edits: readonly Edit[]
}

/**
 * The steps of a section of a Markdown text. `ts` blocks begin with "// path" and are whole files; `diff` blocks begin with
 * the path, then come lines that stay (one space), go (-) and come (+), and "@@" between places.
 */
export function stepsOf(markdown: string, heading: string): Step[] {
  const section = markdown.split(/^## /m).find((part) => part.startsWith(`${heading}\n`))
  if (section === undefined) throw new Error(`no section "${heading}"`)
  return section
    .split(/^(?=\*\*\d+\. )/m)
    .slice(1)
    .map((text) => ({
      title: text.slice(0, text.indexOf('\n')),
      edits: [...text.matchAll(/^```(ts|diff)\n([^\n]+)\n([\s\S]*?)^```$/gm)].map(([, kind, first, body]) =>
        kind === 'ts'
          ? { kind: 'create', file: first!.replace(/^\/\/ /, ''), text: body! }
          : { kind: 'change', file: first!, hunks: body!.split(/^@@\n/m).map(hunkOf) },
      ),
    }))
}

function hunkOf(text: string): Hunk {
  const lines = text.replace(/\n$/, '').split('\n')
  const unknown = lines.find((line) => !/^([ +-]|$)/.test(line))
  if (unknown !== undefined) throw new Error(`"${unknown}" neither stays, goes nor comes`)
  const without = (sign: string) => lines.filter((line) => !line.startsWith(sign)).map((line) => line.slice(1))
  return { before: without('+'), after: without('-') }
}

/** Throws when the file to make is there, or the lines to change are not there exactly once. */
export function apply(edit: Edit, root: string): void {
  const path = join(root, edit.file)
  if (edit.kind === 'create') {
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, edit.text, { flag: 'wx' })
    return
  }
  let text = `\n${readFileSync(path, 'utf8')}`
  for (const { before, after } of edit.hunks) {
    const parts = text.split(`\n${before.join('\n')}\n`)
    if (parts.length !== 2)
      throw new Error(`${edit.file} has ${parts.length - 1} places with these lines, expected 1:\n${before.join('\n')}`)
    text = parts.join(`\n${after.map((line) => `${line}\n`).join('')}`)
  }
  writeFileSync(path, text.slice(1))
}
