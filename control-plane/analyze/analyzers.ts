import type { Analyzer } from './analyzer.ts'
import { conflictingHosts } from './conflicting-hosts.ts'
import { conflictingProtocols } from './conflicting-protocols.ts'
import { conflictingRules } from './conflicting-rules.ts'
import { conflictingSidecars } from './conflicting-sidecars.ts'
import { emptySubset } from './empty-subset.ts'
import { identityWithoutMtls } from './identity-without-mtls.ts'
import { idleOutlier } from './idle-outlier.ts'
import { ineffectivePolicy } from './ineffective-policy.ts'
import { ineffectiveSelector } from './ineffective-selector.ts'
import { knownMethods } from './known-methods.ts'
import { missingReference } from './missing-reference.ts'
import { mtlsMismatch } from './mtls-mismatch.ts'
import { negativeCondition } from './negative-condition.ts'
import { outerTimeout } from './outer-timeout.ts'
import { policyHosts } from './policy-hosts.ts'
import { portNames } from './port-names.ts'
import { portNeeded } from './port-needed.ts'
import { repeatedPolicy } from './repeated-policy.ts'
import { serviceAccounts } from './service-accounts.ts'
import { triesInTime } from './tries-in-time.ts'
import { unknownRuleHost } from './unknown-rule-host.ts'
import { unsafeRetries } from './unsafe-retries.ts'
import { unverifiedServer } from './unverified-server.ts'
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
  knownMethods,
  policyHosts,
  identityWithoutMtls,
  serviceAccounts,
  ineffectiveSelector,
  ineffectivePolicy,
  negativeCondition,
  unverifiedServer,
  mtlsMismatch,
  unsafeRetries,
  triesInTime,
  outerTimeout,
  idleOutlier,
  conflictingProtocols,
  portNeeded,
  portNames,
]
