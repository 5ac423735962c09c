import { fromBinary } from '@bufbuild/protobuf'
import { BinaryReader } from '@bufbuild/protobuf/wire'
import type { Any } from '@bufbuild/protobuf/wkt'
import { type LoadBalancingPolicy, LoadBalancingPolicySchema } from '../../gen/envoy/config/cluster/v3/cluster_pb.js'
import { typeNameOf } from './any.ts'
import type { Field } from './field.ts'

const NAME = 'envoy.extensions.load_balancing_policies.random_subsetting.v3.RandomSubsetting'

export function isRandomSubset(config: Any): boolean {
  return typeNameOf(config) === NAME
}

/** gRFC A68. Read by hand: the message is younger than the definitions that are generated here. */
export function randomSubset(field: Field, { value }: Any): { size: number; child: LoadBalancingPolicy } {
  let size = 0
  let child: LoadBalancingPolicy | undefined
  try {
    const reader = new BinaryReader(value)
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag()
      if (number === 1) size = wrapped(reader.bytes())
      else if (number === 2) child = fromBinary(LoadBalancingPolicySchema, reader.bytes())
      else {
        field.warn(`field ${number} is not supported, has no effect`)
        reader.skip(type)
      }
    }
  } catch (error) {
    return field.fail(`is not a valid ${NAME}: ${error instanceof Error ? error.message : String(error)}`)
  }
  if (size < 1) field.at('subset_size').fail(`must be greater than 0, is ${size}`)
  if (child === undefined) return field.at('child_policy').fail('is missing')
  return { size, child }
}

/** A google.protobuf.UInt32Value. */
function wrapped(bytes: Uint8Array): number {
  const reader = new BinaryReader(bytes)
  let value = 0
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag()
    if (number === 1) value = reader.uint32()
    else reader.skip(type)
  }
  return value
}
