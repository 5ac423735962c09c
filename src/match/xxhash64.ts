import { bytesOf, Hash64, read32, scratchBytes } from './hash64.ts'

// The five primes of xxHash64, as halves.
const P1H = 0x9e3779b1
const P1L = 0x85ebca87
const P2H = 0xc2b2ae3d
const P2L = 0x27d4eb4f
const P3H = 0x165667b1
const P3L = 0x9e3779f9
const P4H = 0x85ebca77
const P4L = 0xc2b2ae63
const P5H = 0x27d4eb2f
const P5L = 0x165667c5

const lane = new Hash64()
const v1 = new Hash64()
const v2 = new Hash64()
const v3 = new Hash64()
const v4 = new Hash64()

/**
 * xxHash64 (https://xxhash.com) of a text into `out`: what Envoy hashes endpoints and requests with. Allocates nothing.
 * @param seed an unsigned 32-bit number
 */
export function xxHash64(text: string, out: Hash64, seed = 0): Hash64 {
  const length = bytesOf(text)
  return xxHash64Bytes(scratchBytes(), length, out, seed)
}

/** xxHash64 of the first `length` bytes. */
export function xxHash64Bytes(bytes: Uint8Array, length: number, out: Hash64, seed = 0): Hash64 {
  let at = 0
  if (length >= 32) {
    at = stripes(bytes, length, seed)
    converge(out)
  } else {
    out.hi = P5H
    out.lo = P5L
    out.add(0, seed)
  }
  out.add(0, length)
  for (; at + 8 <= length; at += 8) {
    lane.hi = 0
    lane.lo = 0
    round(lane, read32(bytes, at + 4), read32(bytes, at))
    out.hi ^= lane.hi
    out.lo ^= lane.lo
    out.rotate(27)
    out.multiply(P1H, P1L)
    out.add(P4H, P4L)
  }
  if (at + 4 <= length) {
    lane.hi = 0
    lane.lo = read32(bytes, at)
    lane.multiply(P1H, P1L)
    out.hi ^= lane.hi
    out.lo ^= lane.lo
    out.rotate(23)
    out.multiply(P2H, P2L)
    out.add(P3H, P3L)
    at += 4
  }
  for (; at < length; at++) {
    lane.hi = 0
    lane.lo = bytes[at]!
    lane.multiply(P5H, P5L)
    out.hi ^= lane.hi
    out.lo ^= lane.lo
    out.rotate(11)
    out.multiply(P1H, P1L)
  }
  out.fold(33)
  out.multiply(P2H, P2L)
  out.fold(29)
  out.multiply(P3H, P3L)
  out.fold(32)
  return out
}

/** The 32-byte stripes of a long input, in four lanes. */
function stripes(bytes: Uint8Array, length: number, seed: number): number {
  set(v1, 0, seed)
  v1.add(P1H, P1L)
  v1.add(P2H, P2L)
  set(v2, 0, seed)
  v2.add(P2H, P2L)
  set(v3, 0, seed)
  // seed - P1 = seed + ~P1 + 1
  set(v4, ~P1H, ~P1L)
  v4.add(0, 1)
  v4.add(0, seed)
  let at = 0
  for (; at + 32 <= length; at += 32) {
    round(v1, read32(bytes, at + 4), read32(bytes, at))
    round(v2, read32(bytes, at + 12), read32(bytes, at + 8))
    round(v3, read32(bytes, at + 20), read32(bytes, at + 16))
    round(v4, read32(bytes, at + 28), read32(bytes, at + 24))
  }
  return at
}

function converge(out: Hash64): void {
  set(out, 0, 0)
  addRotated(out, v1, 1)
  addRotated(out, v2, 7)
  addRotated(out, v3, 12)
  addRotated(out, v4, 18)
  merge(out, v1)
  merge(out, v2)
  merge(out, v3)
  merge(out, v4)
}

function set(target: Hash64, hi: number, lo: number): void {
  target.hi = hi | 0
  target.lo = lo | 0
}

function addRotated(out: Hash64, value: Hash64, bits: number): void {
  set(lane, value.hi, value.lo)
  lane.rotate(bits)
  out.add(lane.hi, lane.lo)
}

function merge(out: Hash64, value: Hash64): void {
  const { hi, lo } = value
  set(lane, 0, 0)
  round(lane, hi, lo)
  out.hi ^= lane.hi
  out.lo ^= lane.lo
  out.multiply(P1H, P1L)
  out.add(P4H, P4L)
}

const input = new Hash64()

/** acc = rotl31(acc + input * P2) * P1 */
function round(acc: Hash64, hi: number, lo: number): void {
  set(input, hi, lo)
  input.multiply(P2H, P2L)
  acc.add(input.hi, input.lo)
  acc.rotate(31)
  acc.multiply(P1H, P1L)
}
