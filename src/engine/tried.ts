import type { Attempt } from './attempt.ts'
import type { HostRuntime } from './host.ts'

/** Did `latest`, or a try before it, go to `host`? */
export function tried(latest: Attempt, host: HostRuntime): boolean {
  for (let a: Attempt | null = latest; a !== null; a = a.previous) if (a.host === host) return true
  return false
}
