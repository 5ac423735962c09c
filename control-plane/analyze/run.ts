import type { KindName } from '../resources/kinds.ts'
import type { Candidate } from '../resources/validate.ts'
import type { Subject } from './analyzer.ts'
import { analyzers } from './analyzers.ts'
import type { World } from './world.ts'

/** Asks the analyzers about each object. */
export function runAnalyzers(candidates: readonly Candidate[], world: World, scope: 'apply' | 'all'): void {
  const asked = scope === 'all' ? analyzers : analyzers.filter(({ onApply }) => onApply !== undefined)
  for (const candidate of candidates) {
    const { namespace, name } = candidate.input
    const kind = candidate.input.kind as KindName
    for (const { checks, onApply } of asked) {
      const check = checks[kind] as ((subject: Subject, world: World) => void) | undefined
      check?.(
        {
          name: `${kind}/${namespace}/${name}`,
          namespace,
          spec: candidate.spec as Subject['spec'],
          status: candidate.status,
          report(said, code, path, message, suggestion) {
            const severity = scope === 'apply' && onApply === 'warns' ? 'warning' : said
            candidate.report({ severity, code, path, message, suggestion })
          },
          reportStatus: (code, path, message) =>
            candidate.report({ severity: 'warning', code, path, message }, 'status'),
        },
        world,
      )
    }
  }
}
