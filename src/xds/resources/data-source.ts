import type { DataSource } from '../../gen/envoy/config/core/v3/base_pb.js'
import { snake } from './config-source.ts'
import type { Field } from './field.ts'

/** Content that stands in the resource itself; files and environment variables of this machine are refused. */
export function inlineBytes(field: Field, source: DataSource | undefined): Uint8Array {
  const specifier = source?.specifier
  if (specifier?.case === 'inlineBytes') return specifier.value
  if (specifier?.case === 'inlineString') return Buffer.from(specifier.value)
  if (specifier?.case === undefined) return field.fail('is missing')
  return field.at(snake(specifier.case)).fail('not supported, expected inline_bytes or inline_string')
}

/** As `inlineBytes`, as UTF-8; absent = empty. */
export function inlineText(field: Field, source: DataSource | undefined): string {
  return source === undefined ? '' : Buffer.from(inlineBytes(field, source)).toString('utf8')
}
