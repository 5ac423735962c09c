import { createHash } from 'node:crypto'
import {
  create,
  type DescMessage,
  type JsonObject,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from '@bufbuild/protobuf'
import { type Any, AnySchema, anyPack, type Duration, DurationSchema } from '@bufbuild/protobuf/wkt'
import { compareText } from './rule.ts'
import type { EncodedResource } from './types.ts'

/** Fields of a message that can be spread: what MessageInitShape is besides a whole message. */
export type Fields<Desc extends DescMessage> = Exclude<MessageInitShape<Desc>, MessageShape<Desc>>

/** A resource with what it refers to. */
export interface Built {
  readonly resource: EncodedResource
  readonly references: readonly { typeUrl: string; name: string }[]
}

/** Encodes once; the version is a hash of the bytes, so it is the same on every replica and after every restart. */
export function encode<Desc extends DescMessage>(
  typeUrl: string,
  name: string,
  schema: Desc,
  message: MessageInitShape<Desc>,
): EncodedResource {
  const any = toBinary(AnySchema, pack(schema, message))
  const version = createHash('sha256').update(any).digest('base64url').slice(0, 16)
  return { typeUrl, name, version, any }
}

export function pack<Desc extends DescMessage>(schema: Desc, message: MessageInitShape<Desc>): Any {
  return anyPack(schema, create(schema, message))
}

/** Maps are encoded in insertion order: sorting makes equal content equal bytes. */
export function sorted<T>(entries: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(entries).sort(([a], [b]) => compareText(a, b)))
}

export function struct(fields: Readonly<Record<string, string>>): JsonObject {
  return sorted(fields)
}

export function duration(ms: number): Duration {
  const whole = Math.floor(ms / 1000)
  return create(DurationSchema, { seconds: BigInt(whole), nanos: Math.round((ms - whole * 1000) * 1e6) })
}
