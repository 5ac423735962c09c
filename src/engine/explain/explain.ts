import type { Random } from '../../model/clock.ts'
import type { RouteSpec } from '../../model/route.ts'
import { Call, type CallEnv } from '../call.ts'
import { endOfPath } from '../compile-match.ts'
import type { Choice, Rule } from '../compile-route.ts'
import type { Engine } from '../engine.ts'
import type { Outbound } from '../outbound.ts'
import { type Rejection, rejections } from '../rejection.ts'
import type { Route } from '../route.ts'
import type {
  ExplainedAnswer,
  ExplainedDestination,
  ExplainedEdits,
  ExplainedRule,
  ExplainRequest,
  Explanation,
} from './explanation.ts'
import { explainHosts, explainLevels, hostName } from './hosts.ts'
import { clusterPolicies, routePolicies } from './policies.ts'
import { AskedRequest } from './request.ts'
import { percent } from './words.ts'

export interface ExplainOptions {
  /** What becomes of hosts that the control plane says do not exist: true = they are dialled without the mesh. Default false. */
  readonly passthrough?: boolean
}

/**
 * What becomes of a request and why, by the rules and the state that calls have now. Changes nothing: no counter, no random
 * draw of the engine, no subscription.
 * @throws TypeError when `request.url` is not an absolute URL
 */
export function explain(engine: Engine, request: ExplainRequest, options: ExplainOptions = {}): Explanation {
  const asked = new AskedRequest(request)
  const { method, authority, path } = asked
  const base = { method, authority, path, routeTable: null, virtualHost: null, rules: [], destinations: [], notes: [] }
  if (!/^http:/i.test(request.url) || method === 'CONNECT')
    return { ...base, outcome: 'not-http', summary: 'not a call of the mesh: what the app encrypts passes as it is' }
  const outbound = engine.outbound(authority)
  if (outbound === undefined) {
    if (!engine.isAbsent(authority)) {
      const summary = `nothing is known of ${authority} yet: the first call asks for its configuration, as does \`preload\``
      return { ...base, outcome: 'not-configured', summary }
    }
    if (options.passthrough ?? false)
      return {
        ...base,
        outcome: 'passthrough',
        summary: `${authority} is not in the mesh: dialled as it is, no policy`,
      }
    return { ...base, outcome: 'refused', summary: `${authority} is not in the mesh, and that is not allowed: 502` }
  }
  return { ...base, ...explainOutbound(engine, asked, outbound) }
}

type Routed = Pick<
  Explanation,
  'outcome' | 'summary' | 'routeTable' | 'virtualHost' | 'rules' | 'destinations' | 'notes'
>

function explainOutbound(engine: Engine, asked: AskedRequest, outbound: Outbound): Routed {
  const routeTable = outbound.spec.routes.name
  const found = outbound.rulesFor(asked.authority)
  if (found === undefined) {
    const summary = `no virtual host of ${routeTable} has the domain ${asked.authority}: 404`
    return { outcome: 'no-route', summary, routeTable, virtualHost: null, rules: [], destinations: [], notes: [] }
  }
  const virtualHost = { name: found.host.name, domain: found.domain }
  const rules: ExplainedRule[] = []
  const destinations: ExplainedDestination[] = []
  const notes = new Set<string>()
  const path = asked.path.slice(0, endOfPath(asked.path))
  let left = 1
  found.rules.forEach((rule, index) => {
    const explained = explainRule(rule, index, asked, path, left)
    rules.push(explained)
    if (explained.share === 0) return
    left -= explained.share
    const { note } = rule.spec.decidedBy
    if (note !== undefined) notes.add(note)
    const choices = rule.choices(asked)
    const total = choices.reduce((sum, c) => sum + c.weight, 0)
    for (const choice of choices)
      destinations.push(explainChoice(engine, asked, rule, index, choice, (explained.share * choice.weight) / total))
  })
  const outcome = destinations.length === 0 ? 'no-route' : 'matched'
  return {
    outcome,
    summary: summaryOf(destinations, left),
    routeTable,
    virtualHost,
    rules,
    destinations,
    notes: [...notes],
  }
}

/** @param left share of the requests that no rule before it has taken */
function explainRule(rule: Rule, index: number, asked: AskedRequest, path: string, left: number): ExplainedRule {
  const { name, match, decidedBy } = rule.spec
  const failed = rule.conditions().find((condition) => !condition.holds(asked, path))
  const base = { index, name, decidedBy: decidedBy.route ?? null }
  if (failed !== undefined) {
    const found = failed.found(asked, path)
    const why = `asks that ${failed.expected}; it is ${found === undefined ? 'absent' : JSON.stringify(found)}`
    return { ...base, matched: false, share: 0, why }
  }
  const fraction = match.fractionPerMillion
  const own = fraction === null ? 1 : fraction / 1_000_000
  if (left === 0) return { ...base, matched: true, share: 0, why: 'a rule before it takes every such request' }
  return {
    ...base,
    matched: true,
    share: left * own,
    why: own === 1 ? null : `takes ${percent(own)} of what comes to it`,
  }
}

function explainChoice(
  engine: Engine,
  asked: AskedRequest,
  rule: Rule,
  ruleIndex: number,
  { target, cluster }: Choice,
  share: number,
): ExplainedDestination {
  const base = { rule: rule.spec.name, ruleIndex, share, cluster, answer: null, refusal: null, rewritten: null }
  const nobody = { levels: [], hosts: [], chosen: null }
  if (target.kind === 'direct')
    return { ...base, ...nobody, kind: 'answer', answer: answerOf(target.rejection), policies: [] }
  if (target.kind === 'passthrough') return { ...base, ...nobody, kind: 'passthrough', policies: [] }
  const now = engine.clock.now()
  // Never run: it is what formats and hash policies look at.
  const call = new Call(quiet(engine), asked, target)
  const refusal = refusalNow(target, now)
  return {
    ...base,
    kind: 'cluster',
    refusal: refusal === undefined ? null : answerOf(refusal),
    rewritten: rewrittenBy(target, asked, call),
    policies: [...routePolicies(specFor(rule.spec, cluster)), ...clusterPolicies(target.cluster, now)],
    levels: explainLevels(target.cluster, now),
    hosts: explainHosts(target.cluster, now),
    chosen: chosenBy(target, call),
  }
}

/** A route as it is for one of its destinations. */
function specFor(spec: RouteSpec, cluster: string | null): RouteSpec {
  if (spec.action.kind !== 'forward') return spec
  const fault = spec.action.clusters.find(({ name }) => name === cluster)?.fault
  return fault === undefined ? spec : { ...spec, fault }
}

/** What the gates and the balancer would say at this moment. */
function refusalNow({ policies, cluster }: Route, now: number): Rejection | undefined {
  for (const policy of policies) {
    const refusal = policy.peek?.(now)
    if (refusal !== undefined) return refusal
  }
  return cluster.usable.length === 0 ? rejections.noHealthyHost : undefined
}

function rewrittenBy({ edits }: Route, asked: AskedRequest, call: Call): ExplainedEdits | null {
  if (edits === null) return null
  const list = [...asked.headers].flat()
  edits.request(list, asked, call)
  const after = new Map<string, string>()
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!.toLowerCase()
    const before = after.get(name)
    after.set(name, before === undefined ? list[i + 1]! : `${before},${list[i + 1]!}`)
  }
  return {
    path: edits.path(asked.path),
    authority: edits.authority(asked.authority),
    set: Object.fromEntries([...after].filter(([name, value]) => asked.headers.get(name) !== value)),
    removed: [...asked.headers.keys()].filter((name) => !after.has(name)),
  }
}

/** Consistent hashing has no memory, so asking it changes nothing; other balancers would move on. */
function chosenBy({ hash, cluster }: Route, call: Call): string | null {
  const { policy } = cluster.spec.lb
  if (hash === null || (policy !== 'RING_HASH' && policy !== 'MAGLEV')) return null
  const now = call.env.clock.now()
  const table = cluster.shares(now)
  const groups = table.levels.filter((level) => level.load > 0).flatMap((level) => table.groupsOf(level, now))
  const value = hash.hash(call)
  // Among several priorities or localities one is drawn first.
  return groups.length !== 1 || groups[0]!.hosts.length === 0 || value === null
    ? null
    : hostName(groups[0]!.balancer.pick(value, now))
}

function answerOf({ status, flag, details, body, headers }: Rejection): ExplainedAnswer {
  return { status, flag, details, body, headers }
}

/** No draw of the engine's own is used up by asking. */
const constant: Random = { u32: () => 0 }

function quiet({ clock, wheel }: Engine): CallEnv {
  return { clock, wheel, random: constant, events: null }
}

function summaryOf(destinations: readonly ExplainedDestination[], left: number): string {
  const parts = destinations.map((d) => {
    const to = d.answer === null ? (d.cluster ?? 'where it was dialled') : `an answer made here, ${d.answer.status}`
    const now = d.refusal === null ? '' : ` (now refused: ${d.refusal.status} ${d.refusal.details})`
    return `${d.share === 1 ? '' : `${percent(d.share)} `}to ${to} by rule "${d.rule}"${now}`
  })
  // Sums of shares are not exact.
  if (left > 1e-9) parts.push(parts.length === 0 ? 'no rule matches: 404' : `${percent(left)} match no rule: 404`)
  return parts.join('; ')
}
