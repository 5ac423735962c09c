import type { MethodDefinition } from '@grpc/grpc-js'

const bytes = (value: Buffer) => value
const method = (path: string, streams: boolean): MethodDefinition<Buffer, Buffer> => ({
  path,
  requestStream: streams,
  responseStream: streams,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
})

/** Messages are bytes: what protobuf costs is nobody's subject here. */
export const service = {
  get: method('/bench.Items/Get', false),
  talk: method('/bench.Items/Talk', true),
}

export const request = Buffer.from('{"id":42}')
export const answer = Buffer.from(JSON.stringify({ items: 'x'.repeat(1024 - 12) }))
