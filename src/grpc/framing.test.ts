import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameDecoder, type FrameSink, frame } from './framing.ts'

class Sink implements FrameSink {
  readonly messages: { text: string; compressed: boolean }[] = []
  tooLong = -1
  frame(message: Buffer, compressed: boolean): void {
    this.messages.push({ text: message.toString('latin1'), compressed })
  }
  frameTooLong(length: number): void {
    this.tooLong = length
  }
}

const message = fc.record({ bytes: fc.uint8Array({ maxLength: 300 }), compressed: fc.boolean() })

describe('frames', () => {
  it('come out as they went in, wherever the bytes are cut', () => {
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 12 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 400 })),
        (all, cuts) => {
          const bytes = Buffer.concat(all.map((m) => frame(m.bytes, m.compressed)))
          const sink = new Sink()
          const decoder = new FrameDecoder(1_000)
          for (let at = 0; at < bytes.length; ) {
            const n = cuts.next().value as number
            decoder.push(bytes.subarray(at, at + n), sink)
            at += n
          }
          expect(sink.messages).toEqual(
            all.map((m) => ({ text: Buffer.from(m.bytes).toString('latin1'), compressed: m.compressed })),
          )
          expect(decoder.whole).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })

  it('that are too long are known by their first five bytes, and nothing after them is read', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), (cut) => {
        const sink = new Sink()
        const decoder = new FrameDecoder(10)
        const bytes = Buffer.concat([frame(Buffer.alloc(10), false), frame(Buffer.alloc(11), false)])
        for (let at = 0; at < bytes.length; at += cut) decoder.push(bytes.subarray(at, at + cut), sink)
        expect(sink.messages).toHaveLength(1)
        expect(sink.tooLong).toBe(11)
      }),
    )
  })

  it('that are cut off are not whole', () => {
    const bytes = frame(Buffer.from('hello'), false)
    for (let n = 1; n < bytes.length; n++) {
      const sink = new Sink()
      const decoder = new FrameDecoder(10)
      decoder.push(bytes.subarray(0, n), sink)
      expect(decoder.whole).toBe(false)
      expect(sink.messages).toEqual([])
    }
  })

  it('a few bytes do not keep alive all that came with them', () => {
    const chunk = Buffer.concat([frame(Buffer.from('few'), false), frame(Buffer.alloc(60_000), false)])
    let kept: Buffer | null = null
    new FrameDecoder(100_000).push(chunk, {
      frame: (bytes) => {
        kept ??= bytes
      },
      frameTooLong: () => undefined,
    })
    expect(kept!.toString()).toBe('few')
    expect((kept as unknown as Buffer).buffer).not.toBe(chunk.buffer)
  })
})
