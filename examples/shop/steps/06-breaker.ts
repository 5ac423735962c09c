import { setTimeout as sleep } from 'node:timers/promises'
import { ms, quantile } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'
import { lastAnswer, outcomes, type Shot } from '../lib/traffic.ts'

/** As in the ServicePolicy; the recovery time is spread by 20 %. */
const TIMEOUT_MS = 400
const RECOVERY_MS = 3_000
const OPEN = 2

export const breaker: Step = {
  title: 'a slow service: 504 on time, the circuit opens, probes, closes',
  async run(shop, report) {
    const inventory = shop.of('inventory-service')
    const order = shop.one('order-service')
    const state = () => shop.metric(order, 'inmesh_breaker_state', '|80||inventory-service')
    const reached = async () => [...(await shop.received(inventory)).values()].reduce((a, b) => a + b, 0)
    const ask = (count: number) => shop.traffic.burst(count, count, () => ({ path: '/stock' }))

    await shop.apply('servicepolicy-inventory.yaml')
    await shop.fault(inventory, { delayMs: 5_000 })
    report.did(
      `inmesh apply -f servicepolicy-inventory.yaml; all of inventory-service take 5 s\n${shop.yaml('servicepolicy-inventory.yaml')}`,
    )

    const slow = await ask(24)
    let calls = slow.length
    // That is enough for a window of 20 calls; on a machine that is busy otherwise some do not count (a late timer blames nobody).
    for (; (await state()) !== OPEN && calls < 120; calls += 24) await ask(24)
    const openedAt = performance.now()
    // A machine that is busy otherwise makes a server shed a few of such a burst; they were never slow.
    const taken = slow.filter((shot) => !isShed(shot))
    const waits = taken.map((shot) => lastAnswer(shot).ms)
    report.check(
      'calls end with 504',
      taken.length > slow.length / 2 && taken.every((shot) => lastAnswer(shot).status === 504),
      outcomes(slow),
    )
    report.check(
      `at the timeout of ${TIMEOUT_MS} ms`,
      waits.every((wait) => wait >= TIMEOUT_MS - 5 && wait < TIMEOUT_MS + 250),
      `p50 ${ms(quantile(waits, 0.5))}, max ${ms(Math.max(...waits))}`,
    )
    report.check(
      'they count as failures: the circuit is open',
      (await state()) === OPEN,
      `state ${await state()} after ${calls} calls`,
    )

    const before = await reached()
    const refused = await ask(50)
    const touched = (await reached()) - before
    const quick = refused.map((shot) => lastAnswer(shot).ms)
    report.check(
      'open: 503 at once, nobody is asked',
      touched === 0 && refused.every(isOpen),
      `${outcomes(refused)}, p50 ${ms(quantile(quick, 0.5))}, ${touched} calls reached inventory-service`,
    )

    // Slow enough that a burst meets the half-open circuit while its one probe is under way.
    await shop.fault(inventory, { delayMs: 150 })
    report.did('inventory-service recovers')
    for (;;) {
      const seen = await reached()
      const after = performance.now() - openedAt
      const burst = await ask(10)
      const answered = burst.filter((shot) => lastAnswer(shot).status === 200)
      if (answered.length === 0 && after < 3 * RECOVERY_MS) {
        await sleep(40)
        continue
      }
      const probes = (await reached()) - seen
      report.check(
        'half-open: of 10 calls at once one is let through',
        answered.length === 1 && probes === 1 && burst.filter(isOpen).length === 9,
        `${outcomes(burst)}; ${probes} reached inventory-service`,
      )
      report.check(
        `after ${RECOVERY_MS / 1_000} s +-20 %`,
        after > 0.8 * RECOVERY_MS - 150 && after < 1.2 * RECOVERY_MS + 500,
        `${(after / 1_000).toFixed(1)} s`,
      )
      break
    }
    await shop.fault(inventory, {})
    const healed = await ask(40)
    report.check(
      'the probe was good: the circuit is closed',
      healed.every((shot) => lastAnswer(shot).status === 200) && (await state()) === 0,
      `${outcomes(healed)}, state ${await state()}`,
    )
    await shop.delete('servicepolicy-inventory.yaml')
  },
}

/** Refused by a server under load: its caller sees a 503 of somebody else, without a flag of its own. */
function isShed(shot: Shot): boolean {
  const { status, flags } = lastAnswer(shot)
  return status === 503 && flags === ''
}

function isOpen(shot: Shot): boolean {
  const { status, details } = lastAnswer(shot)
  return status === 503 && details === 'circuit_breaker_open'
}
