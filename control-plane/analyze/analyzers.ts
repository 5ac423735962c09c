import type { Analyzer } from './analyzer.ts'
import { conflictingHosts } from './conflicting-hosts.ts'
import { conflictingRules } from './conflicting-rules.ts'
import { conflictingSidecars } from './conflicting-sidecars.ts'
import { emptySubset } from './empty-subset.ts'
import { missingReference } from './missing-reference.ts'
import { repeatedPolicy } from './repeated-policy.ts'
import { unknownRuleHost } from './unknown-rule-host.ts'
import { versionSubset } from './version-subset.ts'

/** All that `inmesh analyze` asks. A new one needs its file, a line here and one in the table of docs/analyze.md. */
export const analyzers: readonly Analyzer[] = [
  missingReference,
  unknownRuleHost,
  conflictingHosts,
  conflictingRules,
  conflictingSidecars,
  repeatedPolicy,
  emptySubset,
  versionSubset,
]
