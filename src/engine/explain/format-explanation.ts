import type { ExplainedAnswer, ExplainedDestination, ExplainedRule, Explanation } from './explanation.ts'
import { percent } from './words.ts'

/** An explanation as text for people: a line for each rule, policy and host. Ends without a newline. */
export function formatExplanation(e: Explanation): string {
  const lines = [`${e.method} http://${e.authority}${e.path}`, `  ${e.summary}`]
  if (e.virtualHost !== null)
    lines.push(`Routes ${e.routeTable}, virtual host ${e.virtualHost.name} by its domain ${e.virtualHost.domain}`)
  for (const rule of e.rules) lines.push(`  ${ruleLine(rule)}`)
  for (const destination of e.destinations) lines.push('', ...destinationLines(destination))
  if (e.notes.length > 0) lines.push('', 'Notes', ...e.notes.map((note) => `  ${note}`))
  return lines.join('\n')
}

function ruleLine({ index, name, matched, share, why, decidedBy }: ExplainedRule): string {
  const mark = share > 0 ? '=>' : matched ? ' .' : ' x'
  const from = decidedBy === null ? '' : ` (${decidedBy})`
  const what = why === null ? 'matches' : why
  return `${mark} [${index}] ${name}${from}: ${what}`
}

function destinationLines(d: ExplainedDestination): string[] {
  const title = d.answer !== null ? `Answered here: ${answer(d.answer)}` : `To ${d.cluster ?? 'where it was dialled'}`
  const lines = [`${title}, ${percent(d.share)} of such requests, by rule ${d.rule}`]
  if (d.refusal !== null) lines.push(`  refused now: ${answer(d.refusal)}`)
  if (d.rewritten !== null) {
    lines.push(`  sent as ${d.rewritten.authority}${d.rewritten.path}`)
    for (const [name, value] of Object.entries(d.rewritten.set)) lines.push(`    + ${name}: ${value}`)
    for (const name of d.rewritten.removed) lines.push(`    - ${name}`)
  }
  for (const { name, value, decidedBy } of d.policies)
    lines.push(`  ${name}: ${value}${decidedBy === null ? '' : ` (${decidedBy})`}`)
  for (const { priority, share, healthy, hosts, panic, localities } of d.levels) {
    if (d.levels.length === 1 && !panic && localities.length === 0) break
    const parts = localities.map((l) => `, ${l.locality || 'no locality'} ${percent(l.share)}`).join('')
    lines.push(
      `  priority ${priority}: ${percent(share)}, ${healthy} of ${hosts} healthy${panic ? ', panic' : ''}${parts}`,
    )
  }
  for (const host of d.hosts) {
    const place = [host.locality, host.priority === 0 ? '' : `priority ${host.priority}`].filter((s) => s !== '')
    const where = place.length === 0 ? '' : ` ${place.join(', ')}`
    const chosen = host.address === d.chosen ? ', chosen by hash' : ''
    const state = host.usable ? `usable, ${host.active} under way${chosen}` : `not used: ${host.why}`
    lines.push(`  host ${host.address}${where} weight ${host.weight}: ${state}`)
  }
  if (d.kind === 'cluster' && d.hosts.length === 0) lines.push('  no host')
  return lines
}

function answer({ status, flag, details }: ExplainedAnswer): string {
  return `${status} ${details}${flag === '-' ? '' : ` [${flag}]`}`
}
