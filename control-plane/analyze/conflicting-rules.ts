import type { DestinationRuleSpec } from '../resources/destination-rule.ts'
import type { Analyzer } from './analyzer.ts'

const CODE = 'KIA0201'

/** DestinationRules of one namespace for the same host and callers are merged; of what both say only one counts. */
export const conflictingRules: Analyzer = {
  codes: { [CODE]: 'two DestinationRules say the same thing about one host: a trafficPolicy, or a subset of one name' },
  onApply: 'warns',
  checks: {
    DestinationRule(subject, world) {
      const { spec, namespace, name } = subject
      const twins = world
        .destinationRulesOf(world.host(spec.host, namespace))
        .filter((o) => o.name !== name && o.object.namespace === namespace && callers(o.spec) === callers(spec))
      const rival = spec.trafficPolicy && twins.find((twin) => twin.spec.trafficPolicy !== undefined)
      if (rival !== undefined) {
        const message = `${rival.name} has a trafficPolicy for the same host: the older one decides`
        subject.report('warning', CODE, ['trafficPolicy'], message)
      }
      spec.subsets.forEach((subset, s) => {
        const twin = twins.find((other) => other.spec.subsets.some((theirs) => theirs.name === subset.name))
        if (twin === undefined) return
        const message = `${twin.name} defines "${subset.name}" of the same host: the older one decides`
        subject.report('error', CODE, ['subsets', s, 'name'], message)
      })
    },
  },
}

function callers({ workloadSelector }: DestinationRuleSpec): string {
  return JSON.stringify(Object.entries(workloadSelector?.matchLabels ?? {}).sort())
}
