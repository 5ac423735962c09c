import { setTimeout as sleep } from 'node:timers/promises'
import { countBy, ms, showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'
import { failed, lastAnswer, outcomes } from '../lib/traffic.ts'

export const kill: Step = {
  title: 'kill -9 under load: no GET fails, no POST runs twice',
  async run(shop, report) {
    const payments = shop.of('payment-service')
    const victim = payments.find((workload) => workload.version === 'v1')!
    // Slow enough that calls are under way in the victim when it dies.
    await shop.fault(payments, { delayMs: 15 })
    const endpoints = () => shop.metric(shop.one('order-service'), 'inmesh_endpoints', '|80||payment-service')
    const known = await endpoints()

    const gets = shop.traffic.stream(8, () => ({ path: '/quote' }))
    const posts = shop.traffic.stream(8, (i) => ({ method: 'POST', path: '/orders', id: `kill-${i}` }))
    await sleep(700)
    const killedAt = performance.now()
    await victim.kill()
    report.did(`kill -9 ${victim.pid} (${victim.name}), 16 calls in flight`)

    const goneAfter = await shop.eventually(`${victim.name} leaves the endpoint set`, 8_000, async () =>
      (await endpoints()) === (known ?? 0) - 1 ? performance.now() - killedAt : undefined,
    )
    await sleep(300)
    const [got, posted] = await Promise.all([gets.stop(), posts.stop()])

    const badGets = got.filter(failed)
    report.check(
      'no GET failed',
      badGets.length === 0 && got.length > 0,
      `${badGets.length} of ${got.length} (${outcomes(got)})`,
    )
    const charged = shop.charges()
    const times = (id: string) => charged.get(id) ?? 0
    report.saw(
      `POSTs: ${outcomes(posted)}; charged ${showCounts(countBy(posted, (shot) => `${times(shot.id)} time(s)`))}`,
    )
    const odd = posted.filter((shot) => ![200, 503].includes(lastAnswer(shot).status))
    report.check('a POST is answered with 200, or 503 when the kill hit it', odd.length === 0, outcomes(posted))
    const twice = posted.filter((shot) => times(shot.id) > 1)
    report.check('no POST ran twice', twice.length === 0, `${twice.length} of ${posted.length}`)
    const lost = posted.filter((shot) => lastAnswer(shot).status === 200 && times(shot.id) !== 1)
    report.check('every POST that was answered 200 ran once', lost.length === 0, `${lost.length} exceptions`)
    report.check(
      `it left the endpoint set (${known} to ${(known ?? 0) - 1})`,
      known === payments.length,
      `after ${ms(goneAfter)}`,
    )

    await shop.fault(shop.of('payment-service'), {})
    await shop.restart(victim)
    await shop.eventually(`${victim.name} is back`, 8_000, async () =>
      (await endpoints()) === known ? true : undefined,
    )
  },
}
