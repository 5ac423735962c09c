import { Client, credentials, type ServerDuplexStream, status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { askEcho, type EchoAnswer, type EchoClient, plainEcho, secureEcho } from '../../../test/support/grpc-echo.ts'
import { openPort, type TestPort, type TestPortOptions } from '../../../test/support/grpc-port.ts'
import { identityOf, issueIdentity, until } from '../../../test/support/mesh-http.ts'
import { createTestCa } from '../../../test/support/test-ca.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function open(options: Partial<TestPortOptions> = {}): Promise<TestPort> {
  const port = await openPort({ identity: identityOf(ca, 'payments'), ...options })
  closing.push(() => port.close())
  return port
}

function known(client: EchoClient): EchoClient {
  closing.push(() => client.client.close())
  return client
}

/** Calls one after the other, several at a time, until it is told to stop. */
function load(ask: () => Promise<EchoAnswer>, lanes = 8) {
  const answers: EchoAnswer[] = []
  let stopped = false
  closing.push(() => {
    stopped = true
    return Promise.allSettled(running)
  })
  const running = Array.from({ length: lanes }, async () => {
    while (!stopped) answers.push(await ask())
  })
  return {
    answers,
    /** So many more answers. */
    more: (count: number) => {
      const wanted = answers.length + count
      return until(() => answers.length >= wanted, 15_000)
    },
    stop: async () => {
      stopped = true
      await Promise.all(running)
      return answers.filter(({ code }) => code !== status.OK)
    },
  }
}

/** Chats stay open until the test ends them. */
function chats() {
  const calls: ServerDuplexStream<string, string>[] = []
  return { calls, handlers: { chat: (call: ServerDuplexStream<string, string>) => void calls.push(call) } }
}

describe('a gRPC port that drains', () => {
  it('lets calls under way end, and fails none of those that come', async () => {
    const { calls, handlers } = chats()
    const port = await open({ handlers })
    let connections = 0
    port.port.server.on('connection', () => connections++)
    const client = known(plainEcho(port.number))
    const chat = client.ask('chat')
    await until(() => calls.length === 1)
    const traffic = load(() => client.ask('unary'))
    await traffic.more(50)
    expect(connections).toBe(1)
    for (let round = 2; round < 5; round++) {
      port.port.drain()
      await until(() => connections === round)
      await traffic.more(50)
    }
    calls[0]!.write('still here')
    calls[0]!.end()
    expect(await chat).toMatchObject({ code: status.OK, text: 'still here' })
    expect(await traffic.stop()).toEqual([])
  })

  it('spreads the end of connections over the time that it is given', async () => {
    const port = await open()
    const clients = Array.from({ length: 16 }, () => known(plainEcho(port.number)))
    await Promise.all(clients.map((client) => client.ask('unary')))
    let connections = 0
    port.port.server.on('connection', () => connections++)
    const traffic = load(async () => (await Promise.all(clients.map((client) => client.ask('unary'))))[0]!, 1)
    const began = performance.now()
    let first = 0
    let last = 0
    port.port.server.on('connection', () => {
      first ||= performance.now()
      last = performance.now()
    })
    port.port.drain(400)
    await until(() => connections === 16)
    // The last group leaves at 7/8 of the time.
    expect(last - began).toBeGreaterThanOrEqual(345)
    expect(first).toBeLessThan(last)
    expect(await traffic.stop()).toEqual([])
  })

  it('ends when the last call under way does', async () => {
    const { calls, handlers } = chats()
    const port = await open({ handlers })
    const client = known(plainEcho(port.number))
    const chat = client.ask('chat')
    await until(() => calls.length === 1)
    let closed = false
    const end = port.port.close().then(() => {
      closed = true
    })
    await until(() => !port.port.server.listening)
    expect(closed).toBe(false)
    calls[0]!.write('bye')
    calls[0]!.end()
    expect(await chat).toMatchObject({ code: status.OK, text: 'bye' })
    await end
  })

  it('cuts what is under way when its time is over', async () => {
    const { calls, handlers } = chats()
    const port = await open({ handlers })
    const chat = known(plainEcho(port.number)).ask('chat')
    await until(() => calls.length === 1)
    await port.port.close({ graceMs: 50 })
    expect((await chat).code).not.toBe(status.OK)
    await until(() => port.port.active === 0)
  })

  it('is over soon where clients hold idle connections', async () => {
    const port = await open()
    const clients = [known(plainEcho(port.number)), known(plainEcho(port.number))]
    for (const client of clients) await client.ask('unary')
    await port.port.close({ graceMs: 60_000 })
    expect(port.port.server.listening).toBe(false)
  })

  it.each(['plaintext', 'mutual TLS'])(
    'servers that leave one after the other fail no call of bare clients: %s',
    async (how) => {
      const make = () => open({ spec: { tlsMode: 'PERMISSIVE' } })
      let [a, b] = [await make(), await make()]
      const address = () => `ipv4:127.0.0.1:${a.number},127.0.0.1:${b.number}`
      const options = {
        'grpc.use_local_subchannel_pool': 1,
        'grpc.service_config': '{"loadBalancingConfig":[{"round_robin":{}}]}',
      }
      const { certPem, keyPem } = ca.issue(`spiffe://${ca.trustDomain}/ns/default/sa/orders`)
      const secure = credentials.createSsl(Buffer.from(ca.rootPem), Buffer.from(keyPem), Buffer.from(certPem), {
        checkServerIdentity: () => undefined,
      })
      const dial = () => {
        const client = new Client(address(), how === 'plaintext' ? credentials.createInsecure() : secure, options)
        closing.push(() => client.close())
        return client
      }
      let client = dial()
      const traffic = load(() => askEcho(client, 'unary'))
      for (let round = 0; round < 4; round++) {
        await traffic.more(100)
        const fresh = await make()
        const old = round % 2 === 0 ? a : b
        if (round % 2 === 0) a = fresh
        else b = fresh
        // As discovery does it: callers hear of the new one before the old one goes.
        client = dial()
        await askEcho(client, 'unary')
        old.port.drain(20)
        await traffic.more(50)
        await old.port.close()
      }
      await traffic.more(100)
      expect(await traffic.stop()).toEqual([])
    },
  )

  it('certificates may be replaced under load', async () => {
    const identity = identityOf(ca, 'payments')
    const port = await open({ identity, spec: { tlsMode: 'STRICT' } })
    const traffic = load(async () => {
      const client = secureEcho(port.number, ca, 'orders')
      const answer = await client.ask('unary')
      client.client.close()
      return answer
    }, 2)
    const held = known(secureEcho(port.number, ca, 'web'))
    for (let i = 0; i < 5; i++) {
      await traffic.more(10)
      identity.update(issueIdentity(ca, 'payments'))
      expect((await held.ask('unary')).code).toBe(status.OK)
    }
    expect(await traffic.stop()).toEqual([])
  })

  it('cuts connections of peers that are no longer trusted', async () => {
    const identity = identityOf(ca, 'payments')
    const { calls, handlers } = chats()
    const port = await open({ identity, handlers, spec: { tlsMode: 'STRICT' } })
    const chat = known(secureEcho(port.number, ca, 'orders')).ask('chat')
    await until(() => calls.length === 1)
    identity.updateBundles(createTestCa('cluster.local').bundles)
    expect((await chat).code).not.toBe(status.OK)
    await until(() => port.port.active === 0)
  })
})
