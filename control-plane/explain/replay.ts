import type { Translation } from '../translate/types.ts'
import { Decider, type Decision } from './decision.ts'
import type { RecordedRequest } from './recording.ts'

/** What a candidate configuration would decide otherwise about recorded requests. */
export interface ReplayReport {
  readonly requests: number
  /** Requests of which anything changes. */
  readonly changed: number
  /** By aspect: how many, and some of them. 'newly denied' and 'newly allowed' are parts of access. */
  readonly aspects: Readonly<Record<Aspect, AspectReport>>
}

export const aspects = ['route', 'edits', 'timeout', 'retries', 'policies', 'newly denied', 'newly allowed'] as const
export type Aspect = (typeof aspects)[number]

export interface AspectReport {
  readonly count: number
  /** One per distinct change, the most frequent first; at most five. */
  readonly examples: readonly ReplayExample[]
}

export interface ReplayExample {
  readonly count: number
  /** The first such request. */
  readonly request: RecordedRequest
  readonly before: string
  readonly after: string
}

const MAX_EXAMPLES = 5

export function replay(requests: readonly RecordedRequest[], before: Translation, after: Translation): ReplayReport {
  const old = new Decider(before).decide(requests)
  const now = new Decider(after).decide(requests)
  const found = new Map<
    Aspect,
    Map<string, { count: number; request: RecordedRequest; before: string; after: string }>
  >()
  let changed = 0
  requests.forEach((request, i) => {
    const changes = differences(old[i]!, now[i]!)
    if (changes.length > 0) changed++
    for (const { aspect, before, after } of changes) {
      const examples = found.get(aspect) ?? new Map()
      found.set(aspect, examples)
      const key = `${before}\n${after}`
      const example = examples.get(key)
      if (example === undefined) examples.set(key, { count: 1, request, before, after })
      else example.count++
    }
  })
  const report = (aspect: Aspect): AspectReport => {
    const examples = [...(found.get(aspect)?.values() ?? [])].sort((a, b) => b.count - a.count)
    return { count: examples.reduce((sum, e) => sum + e.count, 0), examples: examples.slice(0, MAX_EXAMPLES) }
  }
  const all = Object.fromEntries(aspects.map((aspect) => [aspect, report(aspect)])) as Record<Aspect, AspectReport>
  return { requests: requests.length, changed, aspects: all }
}

function differences(a: Decision, b: Decision): { aspect: Aspect; before: string; after: string }[] {
  const changes: { aspect: Aspect; before: string; after: string }[] = []
  for (const aspect of ['route', 'edits', 'timeout', 'retries', 'policies'] as const)
    if (a[aspect] !== b[aspect]) changes.push({ aspect, before: a[aspect], after: b[aspect] })
  if (a.access !== b.access) {
    // Denied by another rule is no news to whoever was denied.
    const was = a.access === 'allowed'
    const is = b.access === 'allowed'
    if (was !== is) changes.push({ aspect: is ? 'newly allowed' : 'newly denied', before: a.access, after: b.access })
  }
  return changes
}

/** Ends without a newline. */
export function formatReplay({ requests, changed, aspects: found }: ReplayReport): string {
  if (requests === 0) return 'no request was replayed'
  const share = (count: number) => `${Math.round((count / requests) * 1_000) / 10} %`
  const lines = [`${requests} requests replayed, ${changed} decided otherwise (${share(changed)})`]
  for (const aspect of aspects) {
    const { count, examples } = found[aspect]
    if (count === 0) continue
    lines.push(`${aspect}${aspect.startsWith('newly') ? '' : ' changed'}: ${count} (${share(count)})`)
    for (const { count: times, request, before, after } of examples) {
      const { client, method, url } = request
      lines.push(`  ${times}x such as ${method} ${url} by ${client.service}.${client.namespace ?? 'default'}`)
      lines.push(`    - ${before}`, `    + ${after}`)
    }
  }
  return lines.join('\n')
}
