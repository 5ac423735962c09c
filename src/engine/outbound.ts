import type { Random } from '../model/clock.ts'
import type { VirtualHost } from '../model/route.ts'
import type { ListenerSpec } from '../model/snapshot.ts'
import { endOfPath } from './compile-match.ts'
import { type ClusterOf, compileRule, type HooksOf, type Rule } from './compile-route.ts'
import type { RequestView } from './exchange.ts'
import { rejections } from './rejection.ts'
import type { Target } from './route.ts'
import { RuleList } from './rule-list.ts'
import { DomainIndex, nameOf } from './virtual-host.ts'

const nowhere: Target = { kind: 'direct', name: '', rejection: rejections.noRoute, edits: null }

/** A virtual host as one of its domains finds it. */
export interface DomainRules {
  readonly domain: string
  readonly host: VirtualHost
  readonly rules: readonly Rule[]
  readonly list: RuleList
}

/** The compiled route table of one listener. Immutable, but for what it found last. */
export class Outbound {
  readonly spec: ListenerSpec
  private readonly hosts = new DomainIndex<DomainRules>()
  /** Most listeners are called by one name. */
  private authority = ''
  private found: DomainRules | undefined

  constructor(spec: ListenerSpec, clusterOf: ClusterOf, hooksOf?: HooksOf) {
    this.spec = spec
    for (const host of spec.routes.virtualHosts) {
      const rules = host.routes.map((route) => compileRule(route, clusterOf, hooksOf))
      const list = new RuleList(rules)
      for (const domain of host.domains) this.hosts.add(domain, { domain, host, rules, list })
    }
  }

  /** Where a request goes: the first rule that matches, one of its targets by weight. */
  match(view: RequestView, random: Random): Target {
    const { authority } = view
    if (authority !== this.authority || this.found === undefined) {
      this.found = this.hosts.find(nameOf(authority))
      this.authority = authority
    }
    const { found } = this
    if (found === undefined) return nowhere
    const path = view.path.slice(0, endOfPath(view.path))
    return found.list.first(view, path, random)?.draw(view, random) ?? nowhere
  }

  /** The rules that an authority is matched against; for explain. */
  rulesFor(authority: string): DomainRules | undefined {
    return this.hosts.find(nameOf(authority))
  }
}
