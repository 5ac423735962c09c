import { fromBinary } from '@bufbuild/protobuf'
import { anyUnpack, StringValueSchema } from '@bufbuild/protobuf/wkt'
import { describe, expect, it } from 'vitest'
import { DiscoveryResponseSchema } from '../../src/gen/envoy/service/discovery/v3/discovery_pb.js'
import { encodeResponse } from './envelope.ts'
import { aView, fakeTranslation } from './testing/fake-translation.ts'

describe('a response assembled around encoded resources', () => {
  it('is what the generated code reads', () => {
    const names = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`r${i}`, 'x'.repeat(i)]))
    const translation = fakeTranslation(1, { t: names })
    const resources = Object.keys(names).map((name) => translation.resolve('t', name, aView)!)
    const message = encodeResponse({ typeUrl: 't', version: '17', nonce: 'n1', resources }, 'cp')
    const response = fromBinary(DiscoveryResponseSchema, message)
    expect(response).toMatchObject({ versionInfo: '17', nonce: 'n1', typeUrl: 't', controlPlane: { identifier: 'cp' } })
    expect(response.resources.map((any) => anyUnpack(any, StringValueSchema)!.value)).toEqual(
      Object.entries(names).map(([name, text]) => `${name}=${text}`),
    )
  })

  it('can be empty', () => {
    const message = encodeResponse({ typeUrl: 't', version: '', nonce: 'n', resources: [] }, 'cp')
    expect(fromBinary(DiscoveryResponseSchema, message)).toMatchObject({ resources: [], typeUrl: 't', nonce: 'n' })
  })
})
