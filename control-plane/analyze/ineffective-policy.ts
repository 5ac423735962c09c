import type { PeerAuthenticationSpec } from '../resources/peer-authentication.ts'
import type { Analyzer, Subject } from './analyzer.ts'
import type { World } from './world.ts'

const CODE = 'IST0167'

/** Policies that change nothing: nobody is there for them, or an older one comes first. */
export const ineffectivePolicy: Analyzer = {
  codes: { [CODE]: 'a policy has no effect: its namespace has no workload, or an older one decides' },
  checks: {
    AuthorizationPolicy: (subject, world) => checkEmpty(subject, world, subject.spec.selector?.matchLabels),
    RateLimit: (subject, world) => checkEmpty(subject, world, subject.spec.selector?.matchLabels),
    PeerAuthentication(subject, world) {
      checkEmpty(subject, world, subject.spec.selector?.matchLabels)
      const scope = scopeOf(subject.spec)
      const older = world
        .all('PeerAuthentication')
        .find(({ object, spec }) => object.namespace === subject.namespace && scopeOf(spec) === scope)
      if (older !== undefined && older.name !== subject.name)
        subject.report('warning', CODE, [], `has no effect: ${older.name} is for the same workloads and older`)
    },
  },
}

/** What a selector picks is another analyzer's. */
function checkEmpty(
  { namespace, report }: Pick<Subject, 'namespace' | 'report'>,
  world: World,
  matchLabels: Readonly<Record<string, string>> = {},
): void {
  if (!world.registryKnown || Object.keys(matchLabels).length > 0) return
  if (world.selected(namespace, {}).length > 0) return
  const where = namespace === world.settings.rootNamespace ? 'the mesh' : `the namespace ${namespace}`
  report('warning', CODE, [], `has no effect now: ${where} has no workload`)
}

function scopeOf({ selector }: PeerAuthenticationSpec): string {
  return JSON.stringify(Object.entries(selector?.matchLabels ?? {}).sort())
}
