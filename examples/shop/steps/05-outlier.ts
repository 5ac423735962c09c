import { countBy, percent, showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'
import { failed, lastAnswer, outcomes } from '../lib/traffic.ts'

export const outlier: Step = {
  title: 'a failing instance: retries hide it, then it is ejected',
  async run(shop, report) {
    const payments = shop.of('payment-service')
    const sick = payments.find((workload) => workload.version === 'v1')!
    const order = shop.one('order-service')
    const retries = async () => (await shop.metric(order, 'inmesh_retries_total', 'payment-service')) ?? 0

    await shop.fault([sick], { failShare: 0.3 })
    report.did(`${sick.name} answers 503 to 30 % of its calls`)
    const before = await retries()
    const gets = await shop.traffic.burst(800, 8, () => ({ path: '/quote' }))
    const repeated = (await retries()) - before
    const posts = await shop.traffic.burst(300, 8, (i) => ({ method: 'POST', path: '/orders', id: `sick-${i}` }))
    const { failed: refusals } = await sick.ask<{ failed: number }>('counts')
    const badGets = gets.filter(failed)
    report.check(
      'callers of GETs see no error',
      badGets.length === 0 && repeated > 0,
      `${badGets.length} of ${gets.length}, by ${repeated} retries`,
    )
    const refused = posts.filter((shot) => lastAnswer(shot).status === 503)
    const charged = shop.charges()
    const counts = countBy(posts, (shot) => `${charged.get(shot.id) ?? 0} time(s)`)
    report.saw(`POSTs: ${outcomes(posts)}; ran ${showCounts(counts)}; ${sick.name} refused ${refusals} calls in all`)
    report.check(
      'a POST gets its 503, and once',
      refused.length > 0 && refused.every((shot) => lastAnswer(shot).hop?.instance === sick.name),
      `${refused.length} x 503, all from ${sick.name}`,
    )
    report.check('every POST ran exactly once', counts['1 time(s)'] === posts.length, showCounts(counts))

    await shop.apply('destinationrule-circuit-breaker.yaml')
    await shop.fault([sick], { failShare: 1 })
    report.did(
      `inmesh apply -f destinationrule-circuit-breaker.yaml; ${sick.name} answers 503 to everything\n${shop.yaml('destinationrule-circuit-breaker.yaml')}`,
    )
    const start = (await shop.received([sick])).get(sick.name)!
    const during = await shop.traffic.burst(200, 8, () => ({ path: '/quote' }))
    const ejected = await shop.metric(order, 'inmesh_outlier_ejections_active', '|80||payment-service')
    const middle = (await shop.received([sick])).get(sick.name)!
    const after = await shop.traffic.burst(600, 8, () => ({ path: '/quote' }))
    const end = (await shop.received([sick])).get(sick.name)!
    report.check(
      'outlier detection ejects it',
      ejected === 1,
      `${ejected} host ejected, after ${middle - start} calls to it`,
    )
    report.check(
      'its share drops to 0',
      end === middle,
      `${end - middle} of ${after.length} calls (${percent(end - middle, after.length)})`,
    )
    const errors = [...during, ...after].filter(failed).length
    report.check('still no GET failed', errors === 0, `${errors} of ${during.length + after.length}`)

    await shop.fault([sick], {})
    await shop.delete('destinationrule-circuit-breaker.yaml')
  },
}
