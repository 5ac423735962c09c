import {
  HeaderValueOption_HeaderAppendAction as AppendAction,
  type HeaderValueOption,
  HeaderValueOptionSchema,
} from '../../gen/envoy/config/core/v3/base_pb.js'
import { checkFormat, isTransportHeader } from '../../match/format.ts'
import type { HeaderEdit, HeaderEdits } from '../../model/route.ts'
import { type Field, names } from './field.ts'

/** The four lists that routes, weighted clusters, virtual hosts and tables have alike. */
export interface EditLists {
  readonly requestHeadersToAdd: readonly HeaderValueOption[]
  readonly requestHeadersToRemove: readonly string[]
  readonly responseHeadersToAdd: readonly HeaderValueOption[]
  readonly responseHeadersToRemove: readonly string[]
}

/** Names of those lists in the proto. */
export const editFields =
  'request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove'

/** One level of edits, in Envoy's order within a level: what is removed goes first, what is set comes before what is added. */
export function headerEdits(field: Field, lists: EditLists): HeaderEdits {
  return {
    request: side(field, 'request', lists.requestHeadersToRemove, lists.requestHeadersToAdd),
    response: side(field, 'response', lists.responseHeadersToRemove, lists.responseHeadersToAdd),
  }
}

/** Levels one after the other: a later one overrides the ones before. null = nothing is edited. */
export function joinEdits(...levels: readonly (HeaderEdits | null | undefined)[]): HeaderEdits | null {
  const request = levels.flatMap((level) => level?.request ?? [])
  const response = levels.flatMap((level) => level?.response ?? [])
  return request.length + response.length === 0 ? null : { request, response }
}

function side(
  field: Field,
  which: 'request' | 'response',
  removed: readonly string[],
  added: readonly HeaderValueOption[],
): HeaderEdit[] {
  const edits: HeaderEdit[] = field
    .at(`${which}_headers_to_remove`)
    .map(removed, (name, at) => ({ kind: 'remove', name: editable(at, name) }))
  const values = field.at(`${which}_headers_to_add`).map(added, (option, at) => value(at, option))
  return [...edits, ...values.filter((v) => v.kind !== 'append'), ...values.filter((v) => v.kind === 'append')]
}

const kinds = {
  [AppendAction.APPEND_IF_EXISTS_OR_ADD]: 'append',
  [AppendAction.ADD_IF_ABSENT]: 'add-if-absent',
  [AppendAction.OVERWRITE_IF_EXISTS_OR_ADD]: 'set',
  [AppendAction.OVERWRITE_IF_EXISTS]: 'overwrite-if-exists',
} as const

function value(field: Field, option: HeaderValueOption): Exclude<HeaderEdit, { kind: 'remove' }> {
  field.onlyReads(HeaderValueOptionSchema, option, names('header append append_action keep_empty_value'))
  const { header } = option
  if (header === undefined) return field.at('header').fail('is missing')
  const text = header.value !== '' ? header.value : Buffer.from(header.rawValue).toString('latin1')
  try {
    checkFormat(text)
  } catch (error) {
    field.at('header.value').fail(error instanceof Error ? error.message : String(error))
  }
  // `append` is the older way to say it, and counts where it is there.
  const kind = option.append === undefined ? kinds[option.appendAction] : option.append ? 'append' : 'set'
  if (kind === undefined) return field.at('append_action').fail(`${option.appendAction} is not a known value`)
  return { kind, name: editable(field.at('header.key'), header.key), value: text, keepEmpty: option.keepEmptyValue }
}

/** Envoy refuses edits of pseudo headers and of `host`; those of the connection itself would break messages. */
function editable(field: Field, given: string): string {
  const name = given.toLowerCase()
  if (!/^:?[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) field.fail(`${JSON.stringify(given)} is not a header name`)
  if (isTransportHeader(name)) field.fail(`${name} cannot be edited: it belongs to the connection`)
  return name
}
