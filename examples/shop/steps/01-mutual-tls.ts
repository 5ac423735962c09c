import { type Hop, hops } from '../lib/hop.ts'
import { plaintextGet } from '../lib/probe.ts'
import { table } from '../lib/report.ts'
import { showCounts } from '../lib/stats.ts'
import type { Step } from '../lib/step.ts'

const id = (service: string) => `spiffe://cluster.local/ns/default/sa/${service}`

/** Who must be seen as the caller of whom. */
const expected: Record<string, string | null> = {
  frontend: null,
  'order-service': id('frontend'),
  'payment-service': id('order-service'),
  'inventory-service': id('order-service'),
}

export const mutualTls: Step = {
  title: 'every hop is mutual TLS; plaintext is refused',
  async run(shop, report) {
    const victim = shop.one('payment-service')
    report.saw(`plaintext GET to ${victim.name} before any policy: ${await plaintextGet(victim.port, '/quote')}`)

    await shop.apply('peerauthentication-strict.yaml')
    report.did(`inmesh apply -f peerauthentication-strict.yaml\n${shop.yaml('peerauthentication-strict.yaml')}`)

    const shots = await shop.traffic.burst(60, 4, () => ({ path: '/checkout' }))
    const seen = shots.flatMap((shot) => [...hops(shot.hop)])
    const servers = new Map(seen.map((hop) => [hop.instance, hop]))
    report.saw(
      table([
        ['SERVER', 'SAW CALLER', 'TLS', 'CERTIFICATE ENDS IN'],
        ...[...servers].sort(([a], [b]) => a.localeCompare(b)).map(([name, hop]) => [name, ...callerOf(hop)]),
      ]),
    )
    const wrong = seen.filter((hop) => (hop.caller?.spiffeId ?? null) !== expected[hop.service])
    const processes = shop.workloads.filter((workload) => workload.service !== 'intruder').length
    report.check('every server was reached', servers.size === processes, `${servers.size} of ${processes} processes`)
    report.check(
      'every server saw who called it',
      wrong.length === 0,
      `${seen.length - wrong.length} of ${seen.length} hops`,
    )
    const inside = seen.filter((hop) => hop.service !== 'frontend')
    const tls13 = inside.filter((hop) => hop.caller?.tlsVersion === 'TLSv1.3' && hop.caller.notAfter > Date.now())
    report.check(
      'all hops inside are TLS 1.3, unexpired',
      tls13.length === inside.length,
      `${tls13.length} of ${inside.length}`,
    )

    const payments = shop.of('payment-service')
    const before = await shop.received(payments)
    const refused = await Promise.all(
      payments.map(async (w) => [w.name, await plaintextGet(w.port, '/quote')] as const),
    )
    const after = await shop.received(payments)
    const answered = refused.filter(([, outcome]) => typeof outcome === 'number')
    const reached = payments.filter((w) => after.get(w.name) !== before.get(w.name))
    report.check(
      'plaintext to payment-service gets no answer and reaches no handler',
      answered.length === 0 && reached.length === 0,
      showCounts(Object.fromEntries(refused.map(([name, outcome]) => [`${name} ${outcome}`, 1]))),
    )
  },
}

function callerOf({ caller }: Hop): string[] {
  if (caller === null) return ['(plaintext, from outside)', '-', '-']
  return [caller.spiffeId, caller.tlsVersion, `${Math.round((caller.notAfter - Date.now()) / 1_000)} s`]
}
