import { fromBinary } from '@bufbuild/protobuf'
import type { Any } from '@bufbuild/protobuf/wkt'
import { type DiscoveryResponse, ResourceSchema } from '../gen/envoy/service/discovery/v3/discovery_pb.js'
import { holds, typeNameOf } from './resources/any.ts'
import type { Dialect } from './resources/dialect.ts'
import { FieldError } from './resources/field.ts'
import { peekName } from './resources/resource-name.ts'
import type { Decoded, ResourceType } from './resources/resource-type.ts'

/** One resource of a response that concerns a subscription. */
export type Received =
  | {
      readonly kind: 'new'
      readonly name: string
      readonly bytes: Uint8Array
      readonly version: string
      readonly decoded: Decoded<unknown>
    }
  /** Byte for byte what is held, or a heartbeat without content. */
  | { readonly kind: 'same'; readonly name: string; readonly version: string }
  /** Cannot be used; without a name when none could be read. */
  | { readonly kind: 'bad'; readonly name: string | undefined; readonly error: string }

/** What is known before: which names are wanted, and their bytes. */
export interface Wanted {
  readonly dialect?: Dialect | undefined
  /** undefined = not subscribed; null = subscribed, nothing held. */
  held(name: string): Uint8Array | null | undefined
}

/**
 * Decodes what is subscribed, each on its own, so that one bad resource does not spoil the rest (gRFC A46). Names
 * nobody asked for are left out unread; istiod sends such.
 */
export function readResources(type: ResourceType<unknown>, response: DiscoveryResponse, wanted: Wanted): Received[] {
  const received = response.resources.map((any, i) => readOne(type, any, i, response.versionInfo, wanted))
  return markDuplicates(
    type,
    received.filter((r) => r !== undefined),
  )
}

function readOne(
  type: ResourceType<unknown>,
  outer: Any,
  index: number,
  responseVersion: string,
  wanted: Wanted,
): Received | undefined {
  let any = outer
  let version = responseVersion
  let wrapperName = ''
  const bad = (name: string | undefined, reason: string): Received => ({
    kind: 'bad',
    name,
    error: `${type.label} ${name ?? `#${index} (name unreadable)`}: ${reason}`,
  })
  if (holds(outer, ResourceSchema)) {
    try {
      const wrapper = fromBinary(ResourceSchema, outer.value)
      wrapperName = wrapper.name
      version = wrapper.version || responseVersion
      if (wrapper.resource === undefined)
        // A heartbeat: it lives, nothing changed.
        return wanted.held(wrapperName) === undefined ? undefined : { kind: 'same', name: wrapperName, version }
      any = wrapper.resource
    } catch (error) {
      return bad(peekName(outer.value), `is not a valid envoy.service.discovery.v3.Resource: ${text(error)}`)
    }
  }
  const expected = type.typeUrl.slice(type.typeUrl.lastIndexOf('/') + 1)
  if (typeNameOf(any) !== expected)
    return bad(wrapperName || undefined, `is a ${typeNameOf(any) || 'message without type'}, expected ${expected}`)
  const name = peekName(any.value) ?? (wrapperName || undefined)
  if (name !== undefined) {
    const held = wanted.held(name)
    if (held === undefined) return undefined
    if (held !== null && equalBytes(held, any.value)) return { kind: 'same', name, version }
  }
  try {
    const decoded = type.decode(any.value, wanted.dialect)
    return wanted.held(decoded.name) === undefined
      ? undefined
      : { kind: 'new', name: decoded.name, bytes: any.value, version, decoded }
  } catch (error) {
    if (error instanceof FieldError) return bad(name, error.message)
    throw error
  }
}

/** A name that comes twice in one response is used in neither form. */
function markDuplicates(type: ResourceType<unknown>, received: Received[]): Received[] {
  const count = new Map<string, number>()
  for (const { name } of received) if (name !== undefined) count.set(name, (count.get(name) ?? 0) + 1)
  const reported = new Set<string>()
  return received.flatMap((r): Received[] => {
    if (r.name === undefined || count.get(r.name) === 1) return [r]
    if (reported.has(r.name)) return []
    reported.add(r.name)
    return [{ kind: 'bad', name: r.name, error: `${type.label} ${r.name}: appears twice in the response` }]
  })
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
