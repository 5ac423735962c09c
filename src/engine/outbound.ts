import type { Random } from '../model/clock.ts'
import type { VirtualHost } from '../model/route.ts'
import type { ListenerSpec } from '../model/snapshot.ts'
import { type ClusterOf, compileRule, type HooksOf, type Rule } from './compile-route.ts'
import type { RequestView } from './exchange.ts'
import type { Target } from './route.ts'
import { noRules, RuleList } from './rule-list.ts'
import { DomainIndex, nameOf } from './virtual-host.ts'

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
  private found: RuleList = noRules

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
    if (authority !== this.authority || this.found === noRules) {
      this.found = this.listFor(authority)
      this.authority = authority
    }
    return this.found.target(view, random)
  }

  /** What decides where requests to an authority go; the same for as long as this table is in force. */
  listFor(authority: string): RuleList {
    return this.rulesFor(authority)?.list ?? noRules
  }

  /** The rules that an authority is matched against; for explain. */
  rulesFor(authority: string): DomainRules | undefined {
    return this.hosts.find(nameOf(authority))
  }
}
