import { isTransportHeader } from '../match/format.ts'
import type { HeaderEdit } from '../model/route.ts'
import { compileFormat, type Format, type FormatView, type ResponseHeaders } from './format.ts'

/** A header edit, compiled. */
interface Edit {
  readonly kind: HeaderEdit['kind']
  readonly name: string
  /** null = it removes. */
  readonly value: Format | null
  readonly keepEmpty: boolean
}

/**
 * In the order in which they act. Edits of headers that only a transport may say are left out: decoders refuse them.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for a value that is no format
 */
export function compileEdits(edits: readonly HeaderEdit[]): readonly Edit[] {
  return edits
    .filter(({ name }) => !isTransportHeader(name))
    .map((edit) => {
      if (edit.kind === 'remove') return { kind: edit.kind, name: edit.name, value: null, keepEmpty: false }
      return { ...edit, value: compileFormat(edit.value) }
    })
}

/** Edits a flat list of name, value; names in any case, edits' names in lower case. */
export function editList(edits: readonly Edit[], headers: string[], view: FormatView): void {
  for (const { kind, name, value, keepEmpty } of edits) {
    if (value === null) {
      removeFrom(headers, name, 0)
      continue
    }
    const text = typeof value === 'string' ? value : value(view)
    if (text === '' && !keepEmpty) continue
    const at = kind === 'append' ? -1 : find(headers, name)
    if (at < 0) {
      if (kind !== 'overwrite-if-exists') headers.push(name, text)
    } else if (kind !== 'add-if-absent') {
      headers[at + 1] = text
      removeFrom(headers, name, at + 2)
    }
  }
}

/** The same for headers by name in lower case. */
export function editRecord(edits: readonly Edit[], headers: ResponseHeaders, view: FormatView): void {
  for (const { kind, name, value, keepEmpty } of edits) {
    if (value === null) {
      delete headers[name]
      continue
    }
    const text = typeof value === 'string' ? value : value(view)
    if (text === '' && !keepEmpty) continue
    const before = headers[name]
    if (kind === 'append' && before !== undefined) headers[name] = [before, text].flat()
    else if (before === undefined ? kind !== 'overwrite-if-exists' : kind !== 'add-if-absent') headers[name] = text
  }
}

function find(headers: readonly string[], name: string): number {
  for (let i = 0; i < headers.length; i += 2) {
    const key = headers[i]!
    if (key.length === name.length && key.toLowerCase() === name) return i
  }
  return -1
}

function removeFrom(headers: string[], name: string, from: number): void {
  for (let i = headers.length - 2; i >= from; i -= 2) {
    const key = headers[i]!
    if (key.length === name.length && key.toLowerCase() === name) headers.splice(i, 2)
  }
}
