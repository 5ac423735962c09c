import type { Report } from '../lib/report.ts'
import type { Shop } from '../lib/shop.ts'
import { binomialBounds, countBy, ms, percent, quantile, showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'
import { failed, lastAnswer } from '../lib/traffic.ts'

const CALLS = 2_000

export const canary: Step = {
  title: 'canary by weight: 90/10, then 95/5',
  async run(shop, report) {
    await shop.apply('virtualservice-90-10.yaml')
    report.did(`inmesh apply -f virtualservice-90-10.yaml\n${shop.yaml('virtualservice-90-10.yaml')}`)
    await measure(shop, report, 0.1)

    await shop.delete('virtualservice-90-10.yaml')
    await shop.apply('trafficsplit-95-5.yaml')
    report.did(
      `inmesh delete -f virtualservice-90-10.yaml; inmesh apply -f trafficsplit-95-5.yaml\n${shop.yaml('trafficsplit-95-5.yaml')}`,
    )
    await measure(shop, report, 0.05)
    await shop.delete('trafficsplit-95-5.yaml')
  },
}

async function measure(shop: Shop, report: Report, share: number): Promise<void> {
  const shots = await shop.traffic.burst(CALLS, 16, () => ({ path: '/quote' }))
  const versions = countBy(shots, (shot) => lastAnswer(shot).hop?.version ?? 'none')
  const v2 = versions.v2 ?? 0
  const { low, high } = binomialBounds(CALLS, share)
  const times = shots.map((shot) => shot.ms)
  report.saw(`${showCounts(versions)}; whole chain p50 ${ms(quantile(times, 0.5))}, p99 ${ms(quantile(times, 0.99))}`)
  report.check(
    `${share * 100} % go to v2 (5 sigma: ${low} to ${high} of ${CALLS})`,
    v2 >= low && v2 <= high && (versions.v1 ?? 0) + v2 === CALLS,
    `${v2} = ${percent(v2, CALLS)}`,
  )
  const errors = shots.filter(failed).length
  report.check('no call failed', errors === 0, `${errors} of ${CALLS}`)
}
