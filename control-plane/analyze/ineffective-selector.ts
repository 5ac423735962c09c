import { describeSelector } from '../resources/authorization-policy.ts'
import type { FieldPath } from '../resources/document.ts'
import type { Analyzer, Subject } from './analyzer.ts'
import type { World } from './world.ts'

const CODE = 'IST0166'

export const ineffectiveSelector: Analyzer = {
  codes: { [CODE]: 'a selector picks no workload, or stands where selectors do not count' },
  checks: {
    AuthorizationPolicy: (subject, world) =>
      check(subject, world, subject.spec.selector?.matchLabels, ['selector', 'matchLabels']),
    PeerAuthentication(subject, world) {
      // There it never counts, which is told anyway.
      if (subject.namespace !== world.settings.rootNamespace)
        check(subject, world, subject.spec.selector?.matchLabels, ['selector', 'matchLabels'])
    },
    RateLimit: (subject, world) =>
      check(subject, world, subject.spec.selector?.matchLabels, ['selector', 'matchLabels']),
    DestinationRule: (subject, world) =>
      check(subject, world, subject.spec.workloadSelector?.matchLabels, ['workloadSelector', 'matchLabels']),
    ServiceEntry({ spec, namespace, report }, world) {
      const labels = spec.workloadSelector?.labels
      if (labels === undefined || !world.registryKnown || world.labelsOf(spec.hosts[0]!).length > 0) return
      const message = `no workload or WorkloadEntry of ${namespace} has ${describeSelector(labels)} now`
      report('warning', CODE, ['workloadSelector', 'labels'], message)
    },
    Sidecar: (subject, world) =>
      check(subject, world, subject.spec.workloadSelector?.labels, ['workloadSelector', 'labels']),
  },
}

function check(
  { namespace, report }: Pick<Subject, 'namespace' | 'report'>,
  world: World,
  labels: Readonly<Record<string, string>> | undefined,
  path: FieldPath,
): void {
  if (!world.registryKnown || labels === undefined || Object.keys(labels).length === 0) return
  if (world.selected(namespace, labels).length > 0) return
  const where = namespace === world.settings.rootNamespace ? 'the mesh' : namespace
  report('warning', CODE, path, `no workload of ${where} has ${describeSelector(labels)} now`)
}
