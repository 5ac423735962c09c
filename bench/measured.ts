/** The side of a client process: measures when told. */
import { PerformanceObserver, performance } from 'node:perf_hooks'
import type { Round, RoundResult } from './protocol.ts'
import { quantile } from './statistics.ts'

type Requester = () => Promise<unknown>

let collections = 0
new PerformanceObserver((list) => {
  collections += list.getEntries().length
}).observe({ entryTypes: ['gc'] })

/** The first message says what to do, each later one is a round. */
export function measureWhenTold<S>(prepare: (setup: S) => Promise<Requester>): void {
  process.once('message', async (setup: S) => {
    const request = await prepare(setup)
    process.on('message', async (round: Round) => {
      process.send!(await measure(request, round))
    })
    process.send!('ready')
  })
}

async function loop(request: Requester, round: Round, latencies: Float64Array): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < round.requests) {
      const index = next++
      const begin = performance.now()
      await request()
      latencies[index] = performance.now() - begin
    }
  }
  await Promise.all(Array.from({ length: round.concurrency }, worker))
}

/**
 * Empties the heap in the midst of requests, as it is emptied in a process that is at work. With nothing under way no object
 * of many classes would be alive; V8 then forgets their shapes and all code compiled for them, and what is counted next would
 * be the allocations of code that is not optimised. Ends with requests that nobody counts.
 */
async function collect(request: Requester, round: Round, latencies: Float64Array): Promise<void> {
  const running = loop(request, { ...round, requests: round.requests / 2 }, latencies)
  setImmediate(() => globalThis.gc?.())
  await running
}

async function measure(request: Requester, round: Round): Promise<RoundResult> {
  const latencies = new Float64Array(round.requests)
  if (round.bytes) await collect(request, round, latencies)
  // The observer hears of a collection in a later turn.
  await new Promise((resolve) => setTimeout(resolve, 20))
  collections = 0
  const heapBefore = process.memoryUsage().heapUsed
  const cpuBefore = process.cpuUsage()
  const begin = performance.now()
  await loop(request, round, latencies)
  const wall = performance.now() - begin
  const cpu = process.cpuUsage(cpuBefore)
  const heapAfter = process.memoryUsage().heapUsed
  await new Promise((resolve) => setTimeout(resolve, 20))
  const sorted = [...latencies]
  return {
    cpuUs: (cpu.user + cpu.system) / round.requests,
    requestsPerSecond: round.requests / (wall / 1000),
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    bytes: round.bytes && collections === 0 ? (heapAfter - heapBefore) / round.requests : null,
  }
}
