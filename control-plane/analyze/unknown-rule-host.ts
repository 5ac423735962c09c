import type { Analyzer } from './analyzer.ts'
import { reportUnknownHost } from './unknown-host.ts'

const CODE = 'IST0174'

export const unknownRuleHost: Analyzer = {
  codes: { [CODE]: 'the host of a DestinationRule is not known: the rule has no effect' },
  onApply: 'warns',
  checks: {
    DestinationRule(subject, world) {
      const { host } = subject.spec
      // Without a registry the rule itself speaks of its host, so that nothing can be said.
      if (!host.includes('*')) reportUnknownHost(subject, world, CODE, host, ['host'])
    },
  },
}
