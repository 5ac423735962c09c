import type { Answer } from '../lib/hop.ts'
import type { Step } from '../lib/step.ts'
import { lastAnswer, outcomes } from '../lib/traffic.ts'

export const authorization: Step = {
  title: 'only order-service may POST /process; everybody else gets 403',
  async run(shop, report) {
    const payments = shop.of('payment-service')
    const intruder = shop.one('intruder')
    const total = async () => [...(await shop.received(payments)).values()].reduce((a, b) => a + b, 0)
    const intrude = (method: string, path: string) =>
      intruder.ask<Answer>('try', { method, url: `http://payment-service${path}` })

    report.saw(`before: intruder POST /process ${(await intrude('POST', '/process')).status}`)
    await shop.apply('authorizationpolicy.yaml')
    report.did(`inmesh apply -f authorizationpolicy.yaml\n${shop.yaml('authorizationpolicy.yaml')}`)

    const posts = await shop.traffic.burst(60, 6, (i) => ({ method: 'POST', path: '/orders', id: `allowed-${i}` }))
    report.check(
      "order-service's POST /process works",
      posts.every((shot) => lastAnswer(shot).status === 200),
      outcomes(posts),
    )

    const before = await total()
    const gets = await shop.traffic.burst(40, 4, () => ({ path: '/quote' }))
    report.check(
      "order-service's GET gets 403",
      gets.every((shot) => lastAnswer(shot).status === 403),
      outcomes(gets),
    )
    const tries = [
      ['POST', '/process'],
      ['GET', '/quote'],
      ['POST', '/process/'],
      ['POST', '//process'],
      ['POST', '/quote/../process'],
    ] as const
    const answers = await Promise.all(
      tries.map(async ([method, path]) => ({ method, path, ...(await intrude(method, path)) })),
    )
    report.check(
      'intruder gets 403 whatever it tries',
      answers.every((answer) => answer.status === 403),
      answers.map(({ method, path, status }) => `${method} ${path} ${status}`).join(', '),
    )
    const reached = (await total()) - before
    report.check('no refused call reached a handler', reached === 0, `${reached} calls`)

    await shop.delete('authorizationpolicy.yaml')
    report.did('inmesh delete -f authorizationpolicy.yaml')
    const again = await shop.traffic.burst(40, 4, () => ({ path: '/quote' }))
    report.check(
      'deleted: GET works again',
      again.every((shot) => lastAnswer(shot).status === 200),
      outcomes(again),
    )
  },
}
