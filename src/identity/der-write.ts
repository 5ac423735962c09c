/** Writing DER: each function returns one finished element. */
import { Tag } from './der.ts'

export function element(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 0
  for (const part of parts) length += part.length
  return Buffer.concat([Buffer.from([tag, ...lengthBytes(length)]), ...parts])
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length]
  const bytes: number[] = []
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  return [0x80 | bytes.length, ...bytes]
}

export const sequence = (...parts: readonly Uint8Array[]): Buffer => element(Tag.sequence, ...parts)
export const set = (...parts: readonly Uint8Array[]): Buffer => element(Tag.set, ...parts)
export const octetString = (content: Uint8Array): Buffer => element(Tag.octetString, content)
export const utf8String = (text: string): Buffer => element(Tag.utf8String, Buffer.from(text, 'utf8'))
export const boolean = (value: boolean): Buffer => element(Tag.boolean, Buffer.from([value ? 0xff : 0]))

/** Context-specific, constructed: [n] around finished elements. */
export const tagged = (n: number, ...parts: readonly Uint8Array[]): Buffer => element(0xa0 | n, ...parts)
/** Context-specific, primitive: [n] in place of the tag of a primitive type. */
export const implicit = (n: number, content: Uint8Array): Buffer => element(0x80 | n, content)

/** A non-negative integer, big-endian; leading zeros are dropped, and one is put in front when the top bit is set. */
export function integer(magnitude: Uint8Array | number): Buffer {
  const bytes = typeof magnitude === 'number' ? Buffer.from([magnitude]) : Buffer.from(magnitude)
  let from = 0
  while (from < bytes.length - 1 && bytes[from] === 0) from++
  const trimmed = bytes.subarray(from)
  const positive = trimmed.length === 0 || trimmed[0]! >= 0x80 ? [Buffer.from([0]), trimmed] : [trimmed]
  return element(Tag.integer, ...positive)
}

export function bitString(content: Uint8Array, unusedBits = 0): Buffer {
  return element(Tag.bitString, Buffer.from([unusedBits]), content)
}

export function oid(dotted: string): Buffer {
  const arcs = dotted.split('.').map(Number)
  const bytes: number[] = []
  for (const arc of [arcs[0]! * 40 + arcs[1]!, ...arcs.slice(2)]) {
    const groups = [arc % 128]
    for (let rest = Math.floor(arc / 128); rest > 0; rest = Math.floor(rest / 128)) groups.unshift(128 + (rest % 128))
    bytes.push(...groups)
  }
  return element(Tag.oid, Buffer.from(bytes))
}

/** RFC 5280 4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050 on; wall clock ms, cut to seconds. */
export function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, '')
  const early = new Date(ms).getUTCFullYear() < 2050
  return element(early ? Tag.utcTime : Tag.generalizedTime, Buffer.from(early ? digits.slice(2) : digits, 'latin1'))
}

/** An RDNSequence with one common name, or the empty one for ''. */
export function commonNameOnly(name: string): Buffer {
  return name === '' ? sequence() : sequence(set(sequence(oid('2.5.4.3'), utf8String(name))))
}
