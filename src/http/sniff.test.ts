import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import fc from 'fast-check'
import { afterEach, describe, expect, it } from 'vitest'
import { type Protocol, protocolOf, sniff } from './sniff.ts'

describe('protocolOf', () => {
  it.each([
    ['GET / HTTP/1.1', 'http1'],
    ['PRI * HTTP/2.0\r\n', 'http2'],
    ['PRI * HTTP/1', 'http1'],
    ['PR', undefined],
    ['PROPFIND /', 'http1'],
    ['', undefined],
    ['\r\nGET /', 'other'],
    ['\x00\x01', 'other'],
    ['\x16\x03\x01\x02\x00', 'tls'],
    ['\x16\x03\x04', 'tls'],
    ['\x16', undefined],
    ['\x16\x02\x00', 'other'],
    ['\x16\x03\x09', 'other'],
  ] as const)('%j is %s', (text, protocol) => {
    expect(protocolOf(Buffer.from(text, 'latin1'))).toBe(protocol)
  })

  it('does not change its mind when more bytes come', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.nat(40), (bytes, cut) => {
        const early = protocolOf(bytes.subarray(0, cut))
        return early === undefined || early === protocolOf(bytes)
      }),
    )
  })
})

describe('sniff', () => {
  const sockets: Socket[] = []
  afterEach(() => {
    for (const s of sockets.splice(0)) s.destroy()
  })

  async function pair(): Promise<[client: Socket, server: Socket]> {
    const listener = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const client = connect((listener.address() as { port: number }).port, '127.0.0.1')
    const [server] = (await once(listener, 'connection')) as [Socket]
    listener.close()
    for (const s of [client, server]) s.on('error', () => undefined)
    sockets.push(client, server)
    return [client, server]
  }

  it('leaves every byte to the next reader, also when they come one by one', async () => {
    const [client, server] = await pair()
    const answer = new Promise<Protocol>((resolve) => sniff(server, 5_000, resolve))
    client.setNoDelay(true)
    const text = 'PRI * HTTP/2.0\r\n\r\nSM'
    for (const c of text) {
      client.write(c)
      await new Promise((resolve) => setImmediate(resolve))
    }
    client.end()
    expect(await answer).toBe('http2')
    let got = ''
    for await (const chunk of server) got += chunk
    expect(got).toBe(text)
  })

  it('says "other" of a connection that ends without a byte', async () => {
    const [client, server] = await pair()
    const answer = new Promise<Protocol>((resolve) => sniff(server, 60_000, resolve))
    client.end()
    expect(await answer).toBe('other')
  })

  it('says "other" of a connection that stays silent', async () => {
    const [, server] = await pair()
    expect(await new Promise<Protocol>((resolve) => sniff(server, 20, resolve))).toBe('other')
  })
})
