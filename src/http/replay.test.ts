import { Readable } from 'node:stream'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { ReplayBody } from './replay.ts'

async function all(reader: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of reader) parts.push(part)
  return Buffer.concat(parts).toString()
}

async function* letters(text: string): AsyncGenerator<Uint8Array> {
  for (const letter of text) yield Buffer.from(letter)
}

describe('a request body that is read again', () => {
  it('comes whole to every try, while it is small', async () => {
    const body = new ReplayBody(letters('hello'))
    expect(await all(body.read())).toBe('hello')
    expect(body.replayable).toBe(true)
    expect(await all(body.read())).toBe('hello')
  })

  it('comes whole to the next try when one stopped in the middle, wherever that was', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ minLength: 1 }), { maxLength: 8 }), fc.nat(8), async (parts, stopAt) => {
        const body = new ReplayBody(parts)
        const first = body.read()
        for (let i = 0; i < stopAt; i++) await first.next()
        await first.return()
        expect(await all(body.read())).toBe(parts.join(''))
      }),
    )
  })

  it('fails the try before instead of ending it: a truncated body must not look whole', async () => {
    const body = new ReplayBody(letters('hello'))
    const first = body.read()
    await first.next()
    expect(await all(body.read())).toBe('hello')
    await expect(first.next()).rejects.toThrow('sent again')
  })

  it('is not kept beyond the limit, and then not replayable', async () => {
    const body = new ReplayBody(letters('0123456789'), 4)
    const reader = body.read()
    for (let i = 0; i < 4; i++) await reader.next()
    expect(body.replayable).toBe(true)
    await reader.next()
    expect(body.replayable).toBe(false)
    expect(await all(reader)).toBe('56789')
  })

  it('is not kept once a try is committed', async () => {
    const body = new ReplayBody(letters('ab'))
    const reader = body.read()
    body.commit()
    await reader.next()
    expect(body.replayable).toBe(false)
  })

  it('pulls the source at the pace of its reader', async () => {
    let pulled = 0
    const body = new ReplayBody(
      (async function* () {
        for (;;) {
          pulled++
          yield Buffer.alloc(1)
        }
      })(),
    )
    const reader = body.read()
    await reader.next()
    await reader.next()
    expect(pulled).toBe(2)
    body.destroy(undefined)
  })

  it('gives the source its own failure to see, and is not replayable then', async () => {
    const broken = new Error('disk on fire')
    const body = new ReplayBody(
      (async function* () {
        yield Buffer.from('a')
        throw broken
      })(),
    )
    await expect(all(body.read())).rejects.toBe(broken)
    expect(body.failed).toBe(broken)
    expect(body.replayable).toBe(false)
  })

  it('survives a stream that breaks while nobody reads, and tells the next reader', async () => {
    const source = new Readable({ read() {} })
    const body = new ReplayBody(source)
    const broken = new Error('gone')
    source.destroy(broken)
    await new Promise((resolve) => source.once('close', resolve))
    await expect(all(body.read())).rejects.toBe(broken)
  })

  it('destroys its source only at the end of the call', async () => {
    const source = Readable.from(['a', 'b', 'c'])
    const body = new ReplayBody(source)
    const first = body.read()
    await first.next()
    await first.return()
    expect(source.destroyed).toBe(false)
    body.destroy(undefined)
    expect(source.destroyed).toBe(true)
  })

  it('takes strings, views and buffers, and refuses the rest', async () => {
    const mixed = ['a', new Uint8Array([98]), new Uint16Array([0x6463]).subarray(0), new Uint8Array([101]).buffer]
    expect(await all(new ReplayBody(mixed).read())).toBe('abcde')
    await expect(all(new ReplayBody([1 as unknown as string]).read())).rejects.toThrow(TypeError)
  })
})
