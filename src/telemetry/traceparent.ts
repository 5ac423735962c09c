import { newSpanId } from './ids.ts'

/** A trace id that is random enough to sample by (W3C trace-context level 2, random-trace-id flag). */
export const SAMPLED = 0x01

/** What a valid traceparent says. */
export interface SpanRef {
  /** 32 lower-case hex digits. */
  readonly traceId: string
  /** 16 lower-case hex digits. */
  readonly spanId: string
  /** 8 bits; only `SAMPLED` is ours to read. */
  readonly flags: number
}

/**
 * Reads a traceparent by W3C trace-context level 1 section 3.2: version 00 is exactly 55 characters, a later version may
 * go on after a dash, version ff and zero ids are invalid. Never throws.
 * @returns undefined when the text is not valid: the trace starts anew
 */
export function parseTraceparent(text: string | undefined): SpanRef | undefined {
  if (!isTraceparent(text)) return undefined
  return { traceId: text.slice(3, 35), spanId: text.slice(36, 52), flags: hexByte(text, 53) }
}

/** The check of `parseTraceparent` without making anything: most headers are only passed on. */
export function isTraceparent(text: string | undefined): text is string {
  if (text === undefined || text.length < 55) return false
  if (text.charCodeAt(2) !== DASH || text.charCodeAt(35) !== DASH || text.charCodeAt(52) !== DASH) return false
  if (!isHex(text, 0, 2) || !isHex(text, 53, 55)) return false
  const version = hexByte(text, 0)
  if (version === 0xff) return false
  if (version === 0 ? text.length !== 55 : text.length > 55 && text.charCodeAt(55) !== DASH) return false
  return isHex(text, 3, 35) && !isZero(text, 3, 35) && isHex(text, 36, 52) && !isZero(text, 36, 52)
}

/** The same trace, with nobody asked to record it. `traceparent` must be valid. */
export function unsampled(traceparent: string): string {
  const flags = (hexByte(traceparent, 53) & ~SAMPLED).toString(16).padStart(2, '0')
  return `${traceparent.slice(0, 53)}${flags}${traceparent.slice(55)}`
}

/** Whether a valid traceparent asks for recording. */
export function isSampled(traceparent: string): boolean {
  return (hexByte(traceparent, 53) & SAMPLED) !== 0
}

/** Writes version 00. */
export function formatTraceparent(ref: SpanRef): string {
  return `00-${ref.traceId}-${ref.spanId}-${ref.flags < 16 ? '0' : ''}${ref.flags.toString(16)}`
}

/**
 * A traceparent made of B3 headers, single or multiple (openzipkin/b3-propagation). `get` looks a header up by its
 * lower-case name. 64-bit trace ids are padded on the left; debug ("d", x-b3-flags: 1) means sampled.
 * @returns undefined when there is no usable B3 context, also for a decision without ids ("b3: 0")
 */
export function traceparentOfB3(get: (name: string) => string | undefined): string | undefined {
  const single = get('b3')
  if (single !== undefined) {
    const [traceId, spanId, sampling] = single.split('-', 4)
    return fromB3(traceId, spanId ?? newSpanId(), sampling === '1' || sampling === 'd')
  }
  const sampled = get('x-b3-sampled')
  const recorded = sampled === '1' || sampled === 'true' || get('x-b3-flags') === '1'
  return fromB3(get('x-b3-traceid'), get('x-b3-spanid'), recorded)
}

function fromB3(traceId: string | undefined, spanId: string | undefined, sampled: boolean): string | undefined {
  if (traceId === undefined || spanId === undefined) return undefined
  if (traceId.length !== 32 && traceId.length !== 16) return undefined
  const made = `00-${traceId.toLowerCase().padStart(32, '0')}-${spanId.toLowerCase()}-0${sampled ? 1 : 0}`
  return isTraceparent(made) ? made : undefined
}

const DASH = 0x2d

/** Lower-case hex only: the standard forbids upper case. */
function isHex(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const c = text.charCodeAt(i)
    if (!((c >= 0x30 && c <= 0x39) || (c >= 0x61 && c <= 0x66))) return false
  }
  return true
}

function isZero(text: string, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (text.charCodeAt(i) !== 0x30) return false
  return true
}

function hexByte(text: string, at: number): number {
  return (hexDigit(text.charCodeAt(at)) << 4) | hexDigit(text.charCodeAt(at + 1))
}

function hexDigit(code: number): number {
  return code <= 0x39 ? code - 0x30 : code - 0x57
}
