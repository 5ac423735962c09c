import { create, toBinary } from '@bufbuild/protobuf'
import { AnySchema, anyPack, type StringValue, StringValueSchema } from '@bufbuild/protobuf/wkt'
import type { ClientView, EncodedResource, Translation } from '../../translate/types.ts'

type Content = Readonly<Record<string, Readonly<Record<string, string>>>>
type References = Readonly<Record<string, readonly { typeUrl: string; name: string }[]>>

/**
 * A translation of strings: `content` maps type and name to a text, which is version and content at once. A text that
 * starts with "throw" cannot be made. `references` by name.
 */
export function fakeTranslation(revision: number, content: Content, references: References = {}): Translation {
  const made = new Map<string, EncodedResource>()
  return {
    revision,
    resolve(typeUrl, name) {
      const text = content[typeUrl]?.[name]
      if (text === undefined) return undefined
      if (text.startsWith('throw')) throw new Error(text)
      const key = `${typeUrl} ${name}`
      let resource = made.get(key)
      if (resource === undefined) {
        resource = { typeUrl, name, version: text, any: encode(`${name}=${text}`) }
        made.set(key, resource)
      }
      return resource
    },
    references: (_typeUrl, name) => references[name] ?? [],
  }
}

function encode(value: string): Uint8Array {
  const message: StringValue = create(StringValueSchema, { value })
  return toBinary(AnySchema, anyPack(StringValueSchema, message))
}

export const aView: ClientView = {
  clientClass: 'grpc',
  namespace: 'default',
  serviceAccount: 'orders',
  service: 'orders',
  labels: { app: 'orders' },
  locality: '',
}
