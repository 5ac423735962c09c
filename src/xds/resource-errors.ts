import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'
import type { DiscoveryResponse } from '../gen/envoy/service/discovery/v3/discovery_pb.js'

/** What a server says instead of a resource (xRFC TP3). */
export interface ResourceError {
  readonly name: string
  /** gRPC status code. */
  readonly code: number
  readonly message: string
}

/** DiscoveryResponse.resource_errors; the generated messages are older than the field. */
const RESOURCE_ERRORS = 7

/** Errors that cannot be read are left out: they say nothing about any resource. */
export function readResourceErrors(response: DiscoveryResponse): ResourceError[] {
  const errors: ResourceError[] = []
  for (const { no, wireType, data } of response.$unknown ?? []) {
    if (no !== RESOURCE_ERRORS || wireType !== WireType.LengthDelimited) continue
    try {
      errors.push(readError(new BinaryReader(data).bytes()))
    } catch {
      // Cut off: whatever it was about keeps its timer.
    }
  }
  return errors
}

/** ResourceError: the name in a message of its own (1), a google.rpc.Status (2). */
function readError(bytes: Uint8Array): ResourceError {
  let name = ''
  let code = 0
  let message = ''
  eachField(bytes, (field, reader) => {
    if (field === 1) {
      eachField(reader.bytes(), (inner, of) => {
        if (inner !== 1) return false
        name = of.string()
        return true
      })
      return true
    }
    if (field !== 2) return false
    eachField(reader.bytes(), (inner, of) => {
      if (inner === 1) code = of.int32()
      else if (inner === 2) message = of.string()
      else return false
      return true
    })
    return true
  })
  return { name, code, message }
}

/** @param read returns false for what it did not read */
function eachField(bytes: Uint8Array, read: (field: number, reader: BinaryReader) => boolean): void {
  const reader = new BinaryReader(bytes)
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag()
    if (!read(field, reader)) reader.skip(wireType, field)
  }
}
