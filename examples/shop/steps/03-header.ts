import { countBy, showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'
import { lastAnswer } from '../lib/traffic.ts'

const CALLS = 300
const variants: readonly Record<string, string>[] = [{}, { 'X-Canary': 'true' }, { 'X-Canary': 'maybe' }]

export const header: Step = {
  title: 'header X-Canary: true goes to v2, whatever the weights',
  async run(shop, report) {
    await shop.apply('trafficsplit-canary-header.yaml')
    report.did(`inmesh apply -f trafficsplit-canary-header.yaml\n${shop.yaml('trafficsplit-canary-header.yaml')}`)

    const shots = await shop.traffic.burst(3 * CALLS, 16, (i) => ({
      path: '/quote',
      headers: variants[i % 3] ?? {},
    }))
    // The order of answers is not that of requests: each says which it was.
    const byHeader = new Map<string, string[]>([
      ['true', []],
      ['maybe', []],
      ['none', []],
    ])
    for (const shot of shots)
      byHeader.get(shot.headers['X-Canary'] ?? 'none')!.push(lastAnswer(shot).hop?.version ?? 'none')
    const versions = (name: string) => countBy(byHeader.get(name) ?? [], (version) => version)
    report.check('with X-Canary: true all go to v2', versions('true').v2 === CALLS, showCounts(versions('true')))
    report.check('without it none does (weight 0)', versions('none').v1 === CALLS, showCounts(versions('none')))
    report.check('another value is not that header', versions('maybe').v1 === CALLS, showCounts(versions('maybe')))
    await shop.delete('trafficsplit-canary-header.yaml')
  },
}
