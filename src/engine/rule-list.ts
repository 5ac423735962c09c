import type { Random } from '../model/clock.ts'
import { endOfPath, type MatchTest } from './compile-match.ts'
import type { Rule } from './compile-route.ts'
import type { RequestView } from './exchange.ts'
import { rejections } from './rejection.ts'
import type { Target } from './route.ts'
import { sharedList } from './shared.ts'

/** With fewer exact paths than this an index costs more than it saves. */
const WORTH_AN_INDEX = 8

const nowhere: Target = { kind: 'direct', name: '', rejection: rejections.noRoute, edits: null }

const listOf = sharedList<MatchTest>()

/**
 * Finds the first rule that matches. Large tables mostly ask for exact paths: of those only the ones of the request's path are
 * looked at, in their place among the others.
 */
export class RuleList {
  private readonly rules: readonly Rule[]
  /** Of the rules, in their order: those that do not match are not looked at. */
  private readonly tests: readonly MatchTest[]
  /** Of the rules, see {@link Rule.sole}. */
  private readonly soles: readonly (Target | null)[]
  /** Indexes of the rules for one exact path, ascending; null = no index. */
  private readonly byPath: ReadonlyMap<string, readonly number[]> | null
  /** Indexes of all other rules, ascending. */
  private readonly others: readonly number[]

  constructor(rules: readonly Rule[]) {
    this.rules = rules
    this.tests = listOf(rules.map((rule) => rule.matches))
    this.soles = rules.map((rule) => rule.sole)
    const byPath = new Map<string, number[]>()
    const others: number[] = []
    rules.forEach(({ spec: { match } }, i) => {
      const { path } = match
      if (path.kind !== 'exact' || path.ignoreCase) others.push(i)
      else if (byPath.has(path.value)) byPath.get(path.value)!.push(i)
      else byPath.set(path.value, [i])
    })
    this.byPath = rules.length - others.length < WORTH_AN_INDEX ? null : byPath
    this.others = others
  }

  /** Where a request goes: the first rule that matches, one of its targets by weight. */
  target(view: RequestView, random: Random): Target {
    const at = this.indexOf(view, view.path.slice(0, endOfPath(view.path)), random)
    if (at < 0) return nowhere
    const sole = this.soles[at]!
    return sole !== null && view.method !== 'OPTIONS' ? sole : this.rules[at]!.draw(view, random)
  }

  /** @param path without query */
  first(view: RequestView, path: string, random: Random): Rule | undefined {
    return this.rules[this.indexOf(view, path, random)]
  }

  /** -1 = no rule matches. */
  private indexOf(view: RequestView, path: string, random: Random): number {
    const { tests, byPath, others } = this
    if (byPath === null) {
      for (let i = 0; i < tests.length; i++) if (tests[i]!(view, path, random)) return i
      return -1
    }
    const exact = byPath.get(path) ?? none
    for (let e = 0, o = 0; e < exact.length || o < others.length; ) {
      const next = o === others.length || (e < exact.length && exact[e]! < others[o]!) ? exact[e++]! : others[o++]!
      if (tests[next]!(view, path, random)) return next
    }
    return -1
  }
}

const none: readonly number[] = []

/** Of an authority without any rules. */
export const noRules: RuleList = new RuleList([])
