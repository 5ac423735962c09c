import { setTimeout as sleep } from 'node:timers/promises'
import { hops } from '../lib/hop.ts'
import { serverCertificate } from '../lib/probe.ts'
import { table } from '../lib/report.ts'
import type { Shop } from '../lib/shop.ts'
import type { Step } from '../lib/step.ts'
import { failed, outcomes, type Shot } from '../lib/traffic.ts'

/** Certificates live 30 s and are renewed at half of that. */
const LONGEST_MS = 22_000

export const rotation: Step = {
  title: 'certificates rotate under load',
  async run(shop, report) {
    const servers = shop.workloads.filter((workload) => workload.service !== 'intruder')
    const before = await shown(shop)
    const gets = shop.traffic.stream(4, () => ({ path: '/checkout' }), 5)
    const posts = shop.traffic.stream(2, (i) => ({ method: 'POST', path: '/orders', id: `rotate-${i}` }), 5)
    await sleep(300)
    const callersBefore = callers(gets.shots)
    report.did(`8 calls in flight while ${servers.length} processes renew their certificates (lifetime 30 s)`)

    const after = await shop.eventually('all certificates are new', LONGEST_MS, async () => {
      const now = await shown(shop)
      return servers.every(({ name }) => now.get(name) !== before.get(name)) ? now : undefined
    })
    const from = gets.shots.length
    await sleep(700)
    const callersAfter = callers(gets.shots.slice(from))
    const [got, posted] = await Promise.all([gets.stop(), posts.stop()])

    report.saw(
      table([
        ['PROCESS', 'SERVER CERTIFICATE BEFORE', 'AFTER'],
        ...servers.map(({ name }) => [name, short(before.get(name)), short(after.get(name))]),
      ]),
    )
    report.check('every server shows a new certificate', after.size === servers.length, `${after.size} serial numbers`)
    const clients = ['frontend', 'order-service']
    const fresh = clients.filter((client) => {
      const old = callersBefore.get(client) ?? new Set()
      return [...(callersAfter.get(client) ?? [])].some((serial) => !old.has(serial))
    })
    report.check(
      'servers see new certificates of their callers',
      fresh.length === clients.length,
      clients.map((c) => `${c} ${list(callersBefore.get(c))} to ${list(callersAfter.get(c))}`).join('; '),
    )
    const bad = [...got, ...posted].filter(failed)
    report.check(
      'no call failed',
      bad.length === 0,
      `${bad.length} of ${got.length + posted.length} (${outcomes([...got, ...posted])})`,
    )
    const charged = shop.charges()
    const odd = posted.filter((shot) => charged.get(shot.id) !== 1)
    report.check('every POST ran once', odd.length === 0, `${odd.length} exceptions in ${posted.length}`)
  },
}

/** Serial number of the certificate that each server shows now. */
async function shown(shop: Shop): Promise<Map<string, string>> {
  const servers = shop.workloads.filter((workload) => workload.service !== 'intruder')
  const found = await Promise.all(
    servers.map(async (w) => [w.name, (await serverCertificate(shop, w.port)).serialNumber] as const),
  )
  return new Map(found)
}

/** Serial numbers that servers saw of their callers, by the caller's service account. */
function callers(shots: readonly Shot[]): Map<string, Set<string>> {
  const seen = new Map<string, Set<string>>()
  for (const shot of shots) {
    for (const { caller } of hops(shot.hop)) {
      if (caller === null) continue
      const name = caller.spiffeId.slice(caller.spiffeId.lastIndexOf('/') + 1)
      seen.set(name, (seen.get(name) ?? new Set()).add(caller.serialNumber))
    }
  }
  return seen
}

const short = (serial: string | undefined) => (serial ?? '-').slice(0, 12)
const list = (serials: Set<string> | undefined) => [...(serials ?? [])].map(short).join('+') || '-'
