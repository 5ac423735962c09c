import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readFirstBytes } from './sniff.ts'

const hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01]

describe('the first bytes of a connection', () => {
  it('tell a TLS ClientHello', () => {
    for (const version of [1, 2, 3, 4]) expect(readFirstBytes(Buffer.from([0x16, 3, version, 0, 200]))).toBe('tls')
    expect(readFirstBytes(Buffer.from(hello))).toBe('tls')
  })

  it('tell an HTTP request line', () => {
    for (const line of ['GET / HTTP/1.1', 'options * HTTP/1.1', 'POST', 'PRO', 'PR/'])
      expect(readFirstBytes(Buffer.from(line))).toBe('plaintext')
  })

  it('tell the preface of HTTP/2', () => {
    for (let n = 1; n < 4; n++) expect(readFirstBytes(Buffer.from('PRI '.slice(0, n)))).toBe('more')
    expect(readFirstBytes(Buffer.from('PRI * HTTP/2.0'))).toBe('h2')
  })

  it('are not decided about before there are enough of a TLS record', () => {
    for (let n = 0; n < 5; n++) expect(readFirstBytes(Buffer.from(hello.slice(0, n)))).toBe('more')
  })

  it('that belong to neither are garbage', () => {
    for (const bytes of [
      [0],
      [0x0d, 0x0a],
      [0x80, 0x2e],
      [0x16, 0x02],
      [0x16, 3, 0],
      [0x16, 3, 5],
      [0x16, 3, 1, 0, 0],
      [0x16, 3, 1, 0xff, 0xff],
    ])
      expect(readFirstBytes(Buffer.from(bytes)), bytes.join()).toBe('garbage')
  })

  it('say the same however they are cut, once they say anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 12 }), (bytes) => {
        const whole = readFirstBytes(bytes)
        for (let n = 1; n < bytes.length; n++) {
          const part = readFirstBytes(bytes.subarray(0, n))
          if (part !== 'more') expect(part).toBe(whole)
        }
      }),
    )
  })
})
