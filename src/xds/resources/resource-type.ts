import { type DescMessage, fromBinary, type MessageShape } from '@bufbuild/protobuf'
import type { TypeUrl } from '../proto.ts'
import type { Dialect } from './dialect.ts'
import { Field, FieldError } from './field.ts'

/** What one type of resource is to the client: the wire part (stream-state.ts) knows nothing else of it. */
export interface ResourceType<T> {
  readonly typeUrl: TypeUrl
  /** "Listener": how messages call it. */
  readonly label: string
  /** A response holds all subscribed resources, so absence means deletion (LDS, CDS). */
  readonly fullState: boolean
  /** Decodes and validates; throws FieldError when it cannot be used. */
  decode(value: Uint8Array, dialect?: Dialect): Decoded<T>
}

export interface Decoded<T> {
  readonly name: string
  readonly value: T
  /** Fields that were set and have no effect. */
  readonly warnings: readonly string[]
}

/** A resource of more bytes than this is refused unread: decoding it would block the event loop for too long. */
export const MAX_RESOURCE_BYTES = 4 * 1024 * 1024

/** Builds a type from its message and the function that turns the message into the model. */
export function resourceType<D extends DescMessage, T>(options: {
  typeUrl: TypeUrl
  label: string
  fullState: boolean
  schema: D
  nameOf: (message: MessageShape<D>) => string
  convert: (message: MessageShape<D>, field: Field) => T
}): ResourceType<T> {
  const { typeUrl, label, fullState, schema, nameOf, convert } = options
  return {
    typeUrl,
    label,
    fullState,
    decode(value, dialect) {
      if (value.length > MAX_RESOURCE_BYTES)
        throw new FieldError('', `has ${value.length} bytes, more than the limit of 4 MiB (${MAX_RESOURCE_BYTES})`)
      const message = parse(schema, value)
      const name = nameOf(message)
      if (name === '') throw new FieldError('name', 'is missing')
      const field = new Field('', [], dialect)
      const converted = convert(message, field)
      return { name, value: converted, warnings: field.warnings }
    },
  }
}

function parse<D extends DescMessage>(schema: D, value: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(schema, value)
  } catch (error) {
    throw new FieldError(
      '',
      `is not a valid ${schema.typeName}: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}
