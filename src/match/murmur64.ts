import { bytesOf, Hash64, read32, scratchBytes } from './hash64.ts'

const MH = 0xc6a4a793
const ML = 0x5bd1e995
const data = new Hash64()

/**
 * MurmurHash2, 64-bit variant A, with the seed of libstdc++'s std::hash: Envoy's MURMUR_HASH_2 for rings that agree with
 * those of other gateways.
 */
export function murmur64(text: string, out: Hash64, seed = 0xc70f6907): Hash64 {
  const length = bytesOf(text)
  const bytes = scratchBytes()
  out.hi = 0
  out.lo = length
  out.multiply(MH, ML)
  out.lo ^= seed
  let at = 0
  for (; at + 8 <= length; at += 8) {
    data.hi = read32(bytes, at + 4)
    data.lo = read32(bytes, at)
    data.multiply(MH, ML)
    data.fold(47)
    data.multiply(MH, ML)
    out.hi ^= data.hi
    out.lo ^= data.lo
    out.multiply(MH, ML)
  }
  if (at < length) {
    data.hi = 0
    data.lo = 0
    for (let shift = 0; at < length; at++, shift += 8) {
      if (shift < 32) data.lo |= bytes[at]! << shift
      else data.hi |= bytes[at]! << (shift - 32)
    }
    out.hi ^= data.hi
    out.lo ^= data.lo
    out.multiply(MH, ML)
  }
  out.fold(47)
  out.multiply(MH, ML)
  out.fold(47)
  return out
}
