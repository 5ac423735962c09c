import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { StreamResponse } from './stream.ts'

/**
 * Encodes a DiscoveryResponse around resources that are encoded already: per stream only version, nonce and the copy
 * into one frame cost anything. Field numbers: envoy/service/discovery/v3/discovery.proto, DiscoveryResponse.
 */
export function encodeResponse(response: StreamResponse, controlPlane: string): Buffer {
  const head = new BinaryWriter().tag(1, WireType.LengthDelimited).string(response.version).finish()
  const tail = new BinaryWriter()
    .tag(4, WireType.LengthDelimited)
    .string(response.typeUrl)
    .tag(5, WireType.LengthDelimited)
    .string(response.nonce)
    .tag(6, WireType.LengthDelimited)
    .fork()
    .tag(1, WireType.LengthDelimited)
    .string(controlPlane)
    .join()
    .finish()
  const parts: Uint8Array[] = [head]
  for (const resource of response.resources) {
    parts.push(new BinaryWriter().tag(2, WireType.LengthDelimited).uint32(resource.any.length).finish(), resource.any)
  }
  parts.push(tail)
  return Buffer.concat(parts)
}
