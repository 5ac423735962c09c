/** A request as it is asked about. */
export interface ExplainRequest {
  /** Default GET. */
  readonly method?: string
  /** Absolute: "http://payments/charge?x=1". */
  readonly url: string
  /** Names in any case; several values of one name are joined by ",". */
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
}

/**
 * What becomes of such a request now, and why; plain data, asked of the same compiled rules and the same state that calls
 * use. Nothing is drawn, counted or changed by asking: what is drawn by weight or percentage is shown as a share.
 */
export interface Explanation {
  readonly method: string
  /** As dialled, lower case. */
  readonly authority: string
  /** With query. */
  readonly path: string
  /**
   * 'matched': at least one rule takes it. 'no-route': the host is known, no rule matches: 404. 'passthrough': the mesh does
   * not know the host and lets the call through as it is. 'refused': it does not, and refuses (502). 'not-configured': nothing
   * is known yet, the first call (or `preload`) asks for it. 'not-http': https and CONNECT are none of the mesh's.
   */
  readonly outcome: 'matched' | 'no-route' | 'passthrough' | 'refused' | 'not-configured' | 'not-http'
  readonly summary: string
  /** Name of the listener's route table; null = none. */
  readonly routeTable: string | null
  readonly virtualHost: { readonly name: string; readonly domain: string } | null
  /** Every rule of the virtual host, in order. */
  readonly rules: readonly ExplainedRule[]
  /** Where it goes, one for each cluster of each rule that takes a share. */
  readonly destinations: readonly ExplainedDestination[]
  readonly notes: readonly string[]
}

export interface ExplainedRule {
  readonly index: number
  readonly name: string
  /** Its conditions hold for this request. */
  readonly matched: boolean
  /** 0 to 1: of the requests like this one, how many it takes; rules with a fraction leave the rest to those after. */
  readonly share: number
  /** Why it takes none, or less than all; null = it takes what comes to it. */
  readonly why: string | null
  /** The object that it comes from, when that is known. */
  readonly decidedBy: string | null
}

export interface ExplainedDestination {
  readonly rule: string
  /** Index in `rules`. */
  readonly ruleIndex: number
  /** 0 to 1, of all requests like this one. */
  readonly share: number
  readonly kind: 'cluster' | 'answer' | 'passthrough'
  /** null = answered here. */
  readonly cluster: string | null
  /** The answer that is made here: a redirect, a direct response, or because the cluster does not exist. */
  readonly answer: ExplainedAnswer | null
  /** How it would be refused at this moment though the route leads somewhere; null = it would not. */
  readonly refusal: ExplainedAnswer | null
  /** What the peer would see; null = nothing is changed. */
  readonly rewritten: ExplainedEdits | null
  readonly policies: readonly ExplainedPolicy[]
  /** Priorities and the shares of calls that they get now. */
  readonly levels: readonly ExplainedLevel[]
  readonly hosts: readonly ExplainedHost[]
  /** "10.0.0.1:8080", where consistent hashing decides; null = the balancer does at each call. */
  readonly chosen: string | null
}

export interface ExplainedAnswer {
  readonly status: number
  readonly flag: string
  readonly details: string
  readonly body: string
  /** Flat name, value. */
  readonly headers: readonly string[]
}

export interface ExplainedEdits {
  readonly path: string
  readonly authority: string
  /** Header lines that the peer sees besides, or with another value. */
  readonly set: Readonly<Record<string, string>>
  readonly removed: readonly string[]
}

export interface ExplainedPolicy {
  readonly name: string
  /** In words, with units. */
  readonly value: string
  /** The object that says so, "default", or null when it is not known. */
  readonly decidedBy: string | null
}

export interface ExplainedLevel {
  readonly priority: number
  /** 0 to 1 */
  readonly share: number
  readonly healthy: number
  readonly hosts: number
  /** Too few are healthy, so all are used. */
  readonly panic: boolean
  /** Empty = one locality, or they do not count. */
  readonly localities: readonly { readonly locality: string; readonly share: number }[]
}

export interface ExplainedHost {
  /** "10.0.0.1:8080" */
  readonly address: string
  readonly locality: string
  readonly priority: number
  readonly weight: number
  readonly labels: Readonly<Record<string, string>>
  readonly tls: boolean
  /** Attempts in flight. */
  readonly active: number
  readonly usable: boolean
  /** Why it gets no calls now; null when it does. */
  readonly why: string | null
}
