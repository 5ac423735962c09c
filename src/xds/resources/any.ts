import { type DescMessage, fromBinary, type MessageShape } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import type { Field } from './field.ts'

export function typeUrlOf(schema: DescMessage): string {
  return `type.googleapis.com/${schema.typeName}`
}

/** The full name after the last slash: that is what identifies the type (google.protobuf.Any). */
export function typeNameOf(any: Pick<Any, 'typeUrl'>): string {
  return any.typeUrl.slice(any.typeUrl.lastIndexOf('/') + 1)
}

export function holds(any: Any | undefined, schema: DescMessage): boolean {
  return any !== undefined && typeNameOf(any) === schema.typeName
}

/** The message inside, which must be of this type. */
export function unpack<D extends DescMessage>(field: Field, any: Any | undefined, schema: D): MessageShape<D> {
  if (any === undefined) return field.fail('is missing')
  if (!holds(any, schema))
    return field.fail(`is a ${typeNameOf(any) || 'message without type'}, expected ${schema.typeName}`)
  try {
    return fromBinary(schema, any.value)
  } catch (error) {
    return field.fail(`is not a valid ${schema.typeName}: ${error instanceof Error ? error.message : String(error)}`)
  }
}
