import { hasSelector, type SidecarSpec } from '../resources/sidecar.ts'
import type { Analyzer } from './analyzer.ts'

/** Which of two Sidecars for the same workloads counts would be chance. */
export const conflictingSidecars: Analyzer = {
  codes: {
    IST0110: 'two Sidecars select the same workloads; the older one counts',
    IST0111: 'a namespace has two Sidecars without a workloadSelector',
  },
  onApply: 'refuses',
  checks: {
    Sidecar({ name, namespace, spec, report }, world) {
      for (const other of world.all('Sidecar')) {
        if (other.name === name || other.object.namespace !== namespace || labelsOf(other.spec) !== labelsOf(spec))
          continue
        const both = `${name} and ${other.name}`
        if (hasSelector(spec))
          report('warning', 'IST0110', ['workloadSelector'], `${both} select the same: the older one counts`)
        else report('error', 'IST0111', [], `${both} have no workloadSelector: a namespace can have one such Sidecar`)
      }
    },
  },
}

function labelsOf({ workloadSelector }: SidecarSpec): string {
  return JSON.stringify(Object.entries(workloadSelector?.labels ?? {}).sort())
}
