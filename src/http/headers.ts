import type { Dispatcher } from 'undici'
import type { Attempt } from '../engine/attempt.ts'
import { overrideNames } from '../engine/overrides.ts'
import { carriedBit, propagate, replacedBits } from '../telemetry/propagate.ts'
import { isMeshHeader } from '../transport/hop-headers.ts'

/** Request headers as undici's callers give them, iterables already read. */
export type HeaderList = readonly (string | readonly string[] | undefined)[] | Readonly<Record<string, HeaderValue>>
type HeaderValue = string | readonly string[] | number | undefined

/** Brings the three shapes that undici allows down to two. */
export function headerList(headers: Dispatcher.DispatchOptions['headers']): HeaderList | null {
  if (headers === null || headers === undefined) return null
  if (Array.isArray(headers)) {
    // Pairs are no shape of undici's for arrays, but fetch users know them.
    return Array.isArray(headers[0]) ? (headers as unknown as string[][]).flat(1) : headers
  }
  const pairs = (headers as Partial<Iterable<[string, string | string[] | undefined]>>)[Symbol.iterator]
  if (typeof pairs !== 'function') return headers as Record<string, HeaderValue>
  const flat: (string | readonly string[] | undefined)[] = []
  for (const [name, value] of headers as Iterable<[string, string | string[] | undefined]>) flat.push(name, value)
  return flat
}

/** As a new flat list of name, value, name, value. */
export function flatHeaders(list: HeaderList | null): HeaderValue[] {
  if (list === null) return []
  return Array.isArray(list) ? [...list] : Object.entries(list).flatMap(([name, value]) => [[name], [value]].flat())
}

/** The value of a header, several lines joined by ','; `name` in lower case. */
export function headerOf(list: HeaderList | null, name: string): string | undefined {
  if (list === null) return undefined
  let found: string | undefined
  if (Array.isArray(list)) {
    for (let i = 0; i < list.length; i += 2) {
      const key = list[i] as string
      if (key.length === name.length && key.toLowerCase() === name) found = joined(found, list[i + 1])
    }
    return found
  }
  const record = list as Record<string, HeaderValue>
  for (const key in record) {
    if (key.length === name.length && key.toLowerCase() === name) found = joined(found, record[key])
  }
  return found
}

const overrides: ReadonlySet<string> = new Set(overrideNames.map((name) => `x-envoy-${name}`))

/** Whether some header says how the request is to be retried or timed out; see engine/overrides.ts. */
export function hasOverride(list: HeaderList | null): boolean {
  if (list === null) return false
  if (Array.isArray(list)) {
    for (let i = 0; i < list.length; i += 2) if (isOverride(list[i] as string)) return true
    return false
  }
  for (const name in list) if (isOverride(name)) return true
  return false
}

function isOverride(name: string): boolean {
  // x-e
  if (name.length < 16 || (name.charCodeAt(0) | 0x20) !== 0x78 || (name.charCodeAt(2) | 0x20) !== 0x65) return false
  return overrides.has(name.toLowerCase())
}

/** The values of a header, line by line; `name` in lower case. */
export function linesOf(list: HeaderList | null, name: string): readonly string[] {
  const lines: string[] = []
  if (list === null) return lines
  if (Array.isArray(list)) {
    for (let i = 0; i < list.length; i += 2) addLines(lines, list[i] as string, list[i + 1], name)
    return lines
  }
  const record = list as Record<string, HeaderValue>
  for (const key in record) addLines(lines, key, record[key], name)
  return lines
}

function addLines(lines: string[], key: string, value: HeaderValue, name: string): void {
  if (value === undefined || key.length !== name.length || key.toLowerCase() !== name) return
  if (typeof value === 'object') lines.push(...value)
  else lines.push(String(value))
}

/** Names of all headers, lower case. */
export function namesOf(list: HeaderList | null): string[] {
  if (list === null) return []
  const names = Array.isArray(list) ? list.filter((_, i) => i % 2 === 0) : Object.keys(list)
  return names.map((name) => String(name).toLowerCase())
}

function joined(before: string | undefined, value: HeaderValue): string | undefined {
  if (value === undefined) return before
  const text = typeof value === 'object' ? value.join(',') : String(value)
  return before === undefined ? text : `${before},${text}`
}

/**
 * The headers of one try as undici takes them fastest: flat, `host` first. Left out: what is hop by hop (RFC 9110 section
 * 7.6.1), what the mesh says for itself (x-inmesh-*, x-envoy-*, x-istio-*, x-forwarded-client-cert), `expect` (the body is
 * sent at once, which RFC 9110 section 10.1.1 allows), and the trace headers that the try replaces.
 */
export function requestHeaders(list: HeaderList | null, authority: string, attempt: Attempt): string[] {
  const out: string[] = ['host', authority]
  const replaced = replacedBits(attempt)
  let present = 0
  if (Array.isArray(list)) {
    for (let i = 0; i < list.length; i += 2) {
      present |= add(out, list[i] as string, list[i + 1], replaced)
    }
  } else if (list !== null) {
    const record = list as Record<string, HeaderValue>
    for (const name in record) {
      present |= add(out, name, record[name], replaced)
    }
  }
  if ((present & LISTS) !== 0) dropListed(out, headerOf(list, 'connection')!)
  propagate(attempt, present, out)
  return out
}

function add(out: string[], name: string, value: HeaderValue, replaced: number): number {
  if (value === undefined) return 0
  const bit = carriedBit(name)
  if ((bit & replaced) !== 0) return 0
  const fate = fateOf(name)
  if (fate === Fate.keep) {
    // undici takes arrays of values and primitives as they are.
    out.push(name, value as string)
    return bit
  }
  if (fate === Fate.host) out[1] = String(value)
  else if (fate === Fate.te) {
    if (/(^|[\s,])trailers([\s,;]|$)/i.test(String(value))) out.push('te', 'trailers')
  } else if (fate === Fate.connection) return LISTS
  return 0
}

/** Beside the bits of Carried: there is a Connection header, which lists others. */
const LISTS = 1 << 8

const Fate = { keep: 0, drop: 1, host: 2, te: 3, connection: 4 } as const

/** Lower-casing allocates, so it is left to names that have the length and the first letter of one of ours. */
function fateOf(name: string): number {
  const first = name.charCodeAt(0) | 0x20
  switch (name.length) {
    case 2:
      return first === T && name.toLowerCase() === 'te' ? Fate.te : Fate.keep
    case 4:
      return first === H && name.toLowerCase() === 'host' ? Fate.host : Fate.keep
    case 6:
      return first === E && name.toLowerCase() === 'expect' ? Fate.drop : Fate.keep
    case 7:
      if (first === U) return name.toLowerCase() === 'upgrade' ? Fate.drop : Fate.keep
      return first === T && name.toLowerCase() === 'trailer' ? Fate.drop : Fate.keep
    case 10:
      if (first === C && name.toLowerCase() === 'connection') return Fate.connection
      if (first === K && name.toLowerCase() === 'keep-alive') return Fate.drop
      break
    case 16:
      if (first === P && name.toLowerCase() === 'proxy-connection') return Fate.drop
      break
    case 17:
      if (first === T && name.toLowerCase() === 'transfer-encoding') return Fate.drop
      break
    case 18:
      if (first === P && name.toLowerCase() === 'proxy-authenticate') return Fate.drop
      break
    case 19:
      if (first === P && name.toLowerCase() === 'proxy-authorization') return Fate.drop
      break
    default:
  }
  return isMeshHeader(name) ? Fate.drop : Fate.keep
}

/** Letters by their codes, lower case. */
const [C, E, H, K, P, T, U] = [0x63, 0x65, 0x68, 0x6b, 0x70, 0x74, 0x75]

/** Takes out what the `Connection` header lists, wherever it stood. */
function dropListed(out: string[], connection: string): void {
  for (const part of connection.toLowerCase().split(',')) {
    const name = part.trim()
    if (name === '' || name === 'close' || name === 'keep-alive' || name === 'upgrade' || name === 'te') continue
    for (let i = out.length - 2; i >= 2; i -= 2) if (out[i]!.toLowerCase() === name) out.splice(i, 2)
  }
}
