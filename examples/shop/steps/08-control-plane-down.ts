import type { Report } from '../lib/report.ts'
import type { Shop } from '../lib/shop.ts'
import { binomialBounds, countBy, ms, percent, showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'
import { failed, lastAnswer, outcomes } from '../lib/traffic.ts'

export const controlPlaneDown: Step = {
  title: 'the control plane is killed: traffic goes on, even a restart',
  async run(shop, report) {
    const intruder = shop.one('intruder')
    await intruder.ask('startKnocking', 'http://order-service/quote')
    report.did(`kill -9 ${shop.controlPlane.pid} (control plane)`)
    await shop.controlPlane.kill()

    const alone = await shop.traffic.burst(600, 8, () => ({ path: '/checkout' }))
    report.check(
      'traffic goes on without it',
      !alone.some(failed),
      `${alone.filter(failed).length} of ${alone.length} failed`,
    )
    await restartFrontend(shop, report)

    const started = performance.now()
    await shop.controlPlane.start()
    report.did(`control plane started again on its store: answers after ${ms(performance.now() - started)}`)
    await shop.settled()
    await changeEverything(shop, report)

    const statuses = await intruder.ask<number[]>('stopKnocking')
    const wrong = statuses.filter((code) => code !== 200)
    report.check('a caller that never paused saw no error', wrong.length === 0, showCounts(countBy(statuses, String)))
    await shop.delete('after-restart.yaml')
  },
}

/** Kills frontend and starts it while nobody is there to give it a certificate or a configuration. */
async function restartFrontend(shop: Shop, report: Report): Promise<void> {
  const serial = async () => (await shop.traffic.shoot({ path: '/quote' })).hop?.upstream[0]?.hop?.caller?.serialNumber
  const frontend = shop.one('frontend')
  const before = await serial()
  await frontend.kill()
  const startedAt = performance.now()
  const again = await shop.restart(frontend)
  const took = performance.now() - startedAt
  report.did(
    `kill -9 ${frontend.pid} (frontend), started again as ${again.pid} from its state directory, without a token`,
  )
  const after = await serial()
  report.check('it has key and certificate of before', after !== undefined && after === before, `serial ${after}`)
  const shots = await shop.traffic.burst(300, 8, () => ({ path: '/checkout' }))
  report.check('and serves', !shots.some(failed), `ready in ${ms(took)}; ${outcomes(shots)}`)
}

/** One apply that every process must hear of: each is asked what it was told, and its effect is measured. */
async function changeEverything(shop: Shop, report: Report): Promise<void> {
  const living = shop.workloads.filter((workload) => workload.alive)
  const appliedAt = performance.now()
  await shop.controlPlane.run('apply', '-f', shop.policyFile('after-restart.yaml'))
  report.did(`inmesh apply -f after-restart.yaml\n${shop.yaml('after-restart.yaml')}`)
  // Servers enforce the DENY; intruder serves nothing, but would call payment-service.
  const told = (dump: string) => dump.includes('policy[no-admin]') || dump.includes('|v2|payment-service')
  const reached = await shop.eventually('all processes have the change', 10_000, async () => {
    const dumps = await Promise.all(living.map((workload) => shop.configDump(workload)))
    const count = dumps.filter(told).length
    return count === living.length ? count : undefined
  })
  report.check(
    'the next change reaches all processes',
    reached === living.length,
    `${reached} of ${living.length}, ${ms(performance.now() - appliedAt)} after the start of apply`,
  )
  await shop.settled()
  const [summary] = (await shop.controlPlane.run('status')).split('\n')
  report.saw(`inmesh status: ${summary}, all in sync`)
  const shots = await shop.traffic.burst(400, 8, () => ({ path: '/quote' }))
  const v2 = countBy(shots, (shot) => lastAnswer(shot).hop?.version ?? 'none').v2 ?? 0
  const { low, high } = binomialBounds(shots.length, 0.5)
  const share = `v2 ${v2} of ${shots.length} = ${percent(v2, shots.length)}`
  report.check(`and is used: 50/50 (5 sigma: ${low} to ${high})`, v2 >= low && v2 <= high, share)
  const denied = await shop.traffic.shoot({ path: '/admin' })
  report.check('and enforced: GET /admin gets 403', denied.status === 403, `${denied.status}`)
}
