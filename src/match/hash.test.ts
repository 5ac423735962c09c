import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareHash, Hash64 } from './hash64.ts'
import { murmur64 } from './murmur64.ts'
import { xxHash64, xxHash64Bytes } from './xxhash64.ts'

const xx = (text: string, seed = 0) => xxHash64(text, new Hash64(), seed).toString()
const big = (h: Hash64) => (BigInt(h.hi >>> 0) << 32n) | BigInt(h.lo >>> 0)

describe('xxHash64', () => {
  it.each([
    ['', 'ef46db3751d8e999'],
    ['a', 'd24ec4f1a98c6e5b'],
    ['abc', '44bc2cf5ad770999'],
    ['Nobody inspects the spammish repetition', 'fbcea83c8a378bf1'],
  ])('of "%s" is as published', (text, expected) => expect(xx(text)).toBe(expected))

  // The sanity check of the reference implementation: a buffer of squares of its 32-bit prime.
  it.each([
    [0, 0, 'ef46db3751d8e999'],
    [0, 2_654_435_761, 'ac75fda2929b17ef'],
    [1, 0, '4fce394cc88952d8'],
    [1, 2_654_435_761, '739840cb819fa723'],
    [14, 0, 'cffa8db881bc3a3d'],
    [14, 2_654_435_761, '5b9611585efcc9cb'],
    [101, 0, '0eab543384f878ad'],
    [101, 2_654_435_761, 'caa65939306f1e21'],
  ])('of %i bytes with seed %i is what the reference computes', (length, seed, expected) => {
    const bytes = new Uint8Array(101)
    let generator = 2_654_435_761
    for (let i = 0; i < bytes.length; i++) {
      bytes[i] = generator >>> 24
      generator = Math.imul(generator, generator) >>> 0
    }
    expect(xxHash64Bytes(bytes, length, new Hash64(), seed).toString()).toBe(expected)
  })

  it('is the same as by BigInt, for any bytes and seed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.integer({ min: 0, max: 0xffffffff }), (bytes, seed) => {
        expect(big(xxHash64Bytes(bytes, bytes.length, new Hash64(), seed))).toBe(plain(bytes, BigInt(seed)))
      }),
    )
  })

  it('hashes what goes over the wire: a byte for each character of Latin-1, else UTF-8', () => {
    const of = (bytes: Uint8Array) => xxHash64Bytes(bytes, bytes.length, new Hash64()).toString()
    expect(xx('caf\u00e9')).toBe(of(Buffer.from('caf\u00e9', 'latin1')))
    expect(xx('\u20ac 5')).toBe(of(Buffer.from('\u20ac 5', 'utf8')))
    expect(xx('x'.repeat(5_000))).toBe(of(Buffer.alloc(5_000, 'x')))
  })
})

describe('murmur64', () => {
  it.each([
    ['', '553e93901e462a6e'],
    ['a', '454ddee488c1ed6b'],
    ['abc', '32d82bf8ed3dba39'],
    ['12345678', '8c5b90a33a04dca5'],
    ['10.0.0.1:80_7', '8318d8fc1aa5a2e0'],
    ['Nobody inspects the spammish repetition', 'c3b23f5033ade0d1'],
  ])('of "%s" is what std::hash of libstdc++ computes', (text, expected) =>
    expect(murmur64(text, new Hash64()).toString()).toBe(expected),
  )
})

describe('Hash64', () => {
  const halves = fc.tuple(fc.integer(), fc.integer())
  const mask = (1n << 64n) - 1n

  it('computes as BigInt does', () => {
    fc.assert(
      fc.property(halves, halves, fc.integer({ min: 1, max: 5_000_011 }), ([ah, al], [bh, bl], n) => {
        const a = big(new Hash64(ah, al))
        const b = big(new Hash64(bh, bl))
        const sum = new Hash64(ah, al)
        sum.add(bh, bl)
        expect(big(sum)).toBe((a + b) & mask)
        const product = new Hash64(ah, al)
        product.multiply(bh, bl)
        expect(big(product)).toBe((a * b) & mask)
        const mixed = new Hash64(ah, al)
        mixed.mix(new Hash64(bh, bl))
        expect(big(mixed)).toBe((((a << 1n) | (a >> 63n)) & mask) ^ b)
        expect(new Hash64(ah, al).mod(n)).toBe(Number(a % BigInt(n)))
        expect(compareHash(ah, al, bh, bl)).toBe(a < b ? -1 : a > b ? 1 : 0)
      }),
    )
  })
})

/** xxHash64 a second time, slow and plain. */
function plain(bytes: Uint8Array, seed: bigint): bigint {
  const mask = (1n << 64n) - 1n
  const [p1, p2, p3, p4, p5] = [
    0x9e3779b185ebca87n,
    0xc2b2ae3d27d4eb4fn,
    0x165667b19e3779f9n,
    0x85ebca77c2b2ae63n,
    0x27d4eb2f165667c5n,
  ] as const
  const mul = (a: bigint, b: bigint) => (a * b) & mask
  const rot = (a: bigint, n: bigint) => ((a << n) | (a >> (64n - n))) & mask
  const round = (acc: bigint, lane: bigint) => mul(rot((acc + mul(lane, p2)) & mask, 31n), p1)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  let h = (seed + p5) & mask
  if (bytes.length >= 32) {
    const v = [(seed + p1 + p2) & mask, (seed + p2) & mask, seed, (seed - p1) & mask]
    for (; at + 32 <= bytes.length; at += 32)
      for (let i = 0; i < 4; i++) v[i] = round(v[i]!, view.getBigUint64(at + 8 * i, true))
    h = (rot(v[0]!, 1n) + rot(v[1]!, 7n) + rot(v[2]!, 12n) + rot(v[3]!, 18n)) & mask
    for (const lane of v) h = (mul(h ^ round(0n, lane), p1) + p4) & mask
  }
  h = (h + BigInt(bytes.length)) & mask
  for (; at + 8 <= bytes.length; at += 8)
    h = (mul(rot(h ^ round(0n, view.getBigUint64(at, true)), 27n), p1) + p4) & mask
  if (at + 4 <= bytes.length) {
    h = (mul(rot(h ^ mul(BigInt(view.getUint32(at, true)), p1), 23n), p2) + p3) & mask
    at += 4
  }
  for (; at < bytes.length; at++) h = mul(rot(h ^ mul(BigInt(bytes[at]!), p5), 11n), p1)
  h = mul(h ^ (h >> 33n), p2)
  h = mul(h ^ (h >> 29n), p3)
  return h ^ (h >> 32n)
}
