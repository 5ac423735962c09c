import { afterEach, describe, expect, it } from 'vitest'
import { type Chain, type ChainOptions, startChain } from '../../test/support/chain.ts'
import { createTestCa } from '../../test/support/test-ca.ts'

const ca = createTestCa('cluster.local')
const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

const fails: ChainOptions['last'] = (_req, res) => {
  res.statusCode = 503
  res.end()
}
const quick = { numRetries: 3, baseIntervalMs: 1, maxIntervalMs: 1 }
const generous = { kind: 'window', percent: 100, windowMs: 10_000, floorPerSecond: 10_000 } as const

async function chain(over: Partial<ChainOptions>): Promise<Chain> {
  const made = await startChain({ length: 4, retry: quick, retryBudget: null, last: fails, ...over })
  closing.push(() => made.close())
  return made
}

async function amplification({ call, seen }: Chain, calls: number): Promise<number> {
  for (let i = 0; i < calls; i += 50) await Promise.all(Array.from({ length: Math.min(50, calls - i) }, () => call()))
  expect(seen[0]).toBe(calls)
  return seen.at(-1)! / calls
}

describe('a chain of four services whose last fails every call', () => {
  it('multiplies by 64 when everybody repeats as often as they like', async () => {
    const naive = await chain({ retryBudget: generous })
    expect(await amplification(naive, 5)).toBe(64)
  })

  it('multiplies by at most 1.25 with the default budget and the guard across hops', async () => {
    const guarded = await chain({ ca })
    expect(await amplification(guarded, 400)).toBeLessThanOrEqual(1.25)
  })

  it('is repeated by the service next to the failure alone, however generous the budgets are', async () => {
    const guarded = await chain({ ca, retryBudget: generous })
    expect(await amplification(guarded, 20)).toBe(4)
    expect(guarded.seen).toEqual([20, 20, 20, 80])
  })

  it('is repeated by one service over HTTP/2 too', async () => {
    const guarded = await chain({ ca, http2: true, retryBudget: generous })
    expect(await amplification(guarded, 20)).toBe(4)
    expect(guarded.seen).toEqual([20, 20, 20, 80])
  })

  it('is repeated by one service too when those between answer with a status of their own', async () => {
    const guarded = await chain({ ca, retryBudget: generous, retry: { ...quick, retryOn: ['5xx'] }, answer: () => 500 })
    await amplification(guarded, 10)
    expect(guarded.seen).toEqual([10, 10, 10, 40])
  })

  it('is within the budget of one hop, and without the guard of each', async () => {
    const retryBudget = { kind: 'window', percent: 20, windowMs: 10_000, floorPerSecond: 0 } as const
    expect(await amplification(await chain({ retryBudget }), 200)).toBeGreaterThan(1.5)
    expect(await amplification(await chain({ ca, retryBudget }), 200)).toBeLessThanOrEqual(1.21)
  })
})

describe('the guard across hops', () => {
  it('keeps out of the way of what helps: a service that dies is repeated by its caller', async () => {
    let calls = 0
    const flaky = await chain({
      ca,
      length: 3,
      last: (req, res) => {
        if (++calls === 1) req.socket.destroy()
        else res.end()
      },
    })
    expect(await flaky.call()).toBe(200)
    expect(flaky.seen).toEqual([1, 1, 2])
  })

  it('lets the hop above repeat what the hop below could not', async () => {
    const above = await chain({
      ca,
      length: 3,
      retryBudget: generous,
      retry: { ...quick, retryOn: [], statusCodes: [500] },
      last: fails,
      answer: () => 500,
    })
    await above.call()
    // 503 is nothing that the last but one repeats; its 500 is what the first does.
    expect(above.seen).toEqual([1, 4, 4])
  })

  it('lets nobody below repeat a repeat', async () => {
    let broken = 0
    const repeated = await chain({
      ca,
      length: 3,
      retryBudget: generous,
      before(service, req) {
        if (service !== 1 || broken++ > 0) return false
        req.socket.destroy()
        return true
      },
    })
    expect(await repeated.call()).toBe(503)
    // One that broke and three repeats of it, each of which called the last service once.
    expect(repeated.seen).toEqual([1, 4, 3])
  })
})
