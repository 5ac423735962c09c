import type { DescMessage, MessageShape } from '@bufbuild/protobuf'
import type { Metadata } from '../../gen/envoy/config/core/v3/base_pb.js'
import { unpack } from './any.ts'
import type { Field } from './field.ts'

/** One of inmesh's own messages in `typed_filter_metadata`; undefined when there is none. */
export function typedMetadata<D extends DescMessage>(
  field: Field,
  metadata: Metadata | undefined,
  key: string,
  schema: D,
): MessageShape<D> | undefined {
  const any = metadata?.typedFilterMetadata[key]
  if (any === undefined) return undefined
  return unpack(field.at('typed_filter_metadata').index(key), any, schema)
}
