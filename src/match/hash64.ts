/** A 64-bit number in two halves: BigInt is too slow where calls pass. Either half may be held signed or unsigned. */
export class Hash64 {
  hi: number
  lo: number
  constructor(hi = 0, lo = 0) {
    this.hi = hi
    this.lo = lo
  }

  /** Adds `other` as Envoy combines the hash policies of a route: rotated left by one, exclusive or. */
  mix(other: Hash64): void {
    const { hi, lo } = this
    this.hi = ((hi << 1) | (lo >>> 31)) ^ other.hi
    this.lo = ((lo << 1) | (hi >>> 31)) ^ other.lo
  }

  /** The remainder of the division by `divisor`, an integer below 2^26. */
  mod(divisor: number): number {
    return (((this.hi >>> 0) % divisor) * (4_294_967_296 % divisor) + ((this.lo >>> 0) % divisor)) % divisor
  }

  /** Sixteen hexadecimal digits. */
  toString(): string {
    return (this.hi >>> 0).toString(16).padStart(8, '0') + (this.lo >>> 0).toString(16).padStart(8, '0')
  }

  /** this += (hi, lo) */
  add(hi: number, lo: number): void {
    const sum = (this.lo >>> 0) + (lo >>> 0)
    this.hi = (this.hi + hi + (sum >= 4_294_967_296 ? 1 : 0)) | 0
    this.lo = sum | 0
  }

  /** this *= (hi, lo) */
  multiply(hi: number, lo: number): void {
    const a = this.lo
    const a0 = a & 0xffff
    const a1 = a >>> 16
    const b0 = lo & 0xffff
    const b1 = lo >>> 16
    const middle = a1 * b0 + ((a0 * b0) >>> 16)
    const other = a0 * b1 + (middle & 0xffff)
    const carry = a1 * b1 + (middle >>> 16) + (other >>> 16)
    this.hi = (carry + Math.imul(this.hi, lo) + Math.imul(a, hi)) | 0
    this.lo = Math.imul(a, lo)
  }

  /** Rotates left by 1 to 31 bits. */
  rotate(bits: number): void {
    const { hi, lo } = this
    this.hi = (hi << bits) | (lo >>> (32 - bits))
    this.lo = (lo << bits) | (hi >>> (32 - bits))
  }

  /** this ^= this >>> bits, for 1 to 63 bits. */
  fold(bits: number): void {
    const { hi, lo } = this
    if (bits >= 32) this.lo = lo ^ (hi >>> (bits - 32))
    else {
      this.hi = hi ^ (hi >>> bits)
      this.lo = lo ^ ((lo >>> bits) | (hi << (32 - bits)))
    }
  }
}

/** -1, 0 or 1; both as unsigned numbers. */
export function compareHash(aHi: number, aLo: number, bHi: number, bLo: number): number {
  const a = aHi >>> 0
  const b = bHi >>> 0
  if (a !== b) return a < b ? -1 : 1
  const c = aLo >>> 0
  const d = bLo >>> 0
  return c === d ? 0 : c < d ? -1 : 1
}

let scratch = new Uint8Array(1024)

/** The bytes of the latest {@link bytesOf}; overwritten by the next. */
export function scratchBytes(): Uint8Array {
  return scratch
}

/**
 * Writes `text` as it goes over the wire in a header field: a byte per character; text beyond Latin-1 as UTF-8.
 * @returns how many bytes {@link scratchBytes} has
 */
export function bytesOf(text: string): number {
  const { length } = text
  if (length * 3 > scratch.length) scratch = new Uint8Array(length * 3)
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    if (code > 255) return new TextEncoder().encodeInto(text, scratch).written
    scratch[i] = code
  }
  return length
}

/** The little-endian 32-bit number at `at`, signed. */
export function read32(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
}
