import type { Engine } from '../../src/engine/engine.ts'
import { explain } from '../../src/engine/explain/explain.ts'
import { explainInbound } from '../../src/engine/explain/explain-inbound.ts'
import type { ExplainedDestination } from '../../src/engine/explain/explanation.ts'
import { Inbound } from '../../src/engine/inbound.ts'
import { spiffeIdOf } from '../../src/model/workload.ts'
import { inboundListenerName } from '../../src/xds/proto.ts'
import { defaults } from '../options.ts'
import type { ClientView, Translation } from '../translate/types.ts'
import { clientSnapshot } from './client-snapshot.ts'
import { viewOf, withEngine } from './explain-for.ts'
import type { RecordedRequest } from './recording.ts'

/** What is decided about a request, by aspect, in words that can be compared. */
export interface Decision {
  /** Where it goes, with shares. */
  readonly route: string
  /** What the peer sees instead. */
  readonly edits: string
  readonly timeout: string
  readonly retries: string
  /** Everything else that applies: fault, mirrors, load balancing, limits... */
  readonly policies: string
  /** "allowed", or who denies it at which service. */
  readonly access: string
}

/** Decides recorded requests under one configuration; what was worked out for one client serves the next of its kind. */
export class Decider {
  readonly #translation: Translation
  readonly #servers = new Map<string, Inbound | null>()

  constructor(translation: Translation) {
    this.#translation = translation
  }

  /** In the order of `requests`. */
  decide(requests: readonly RecordedRequest[]): Decision[] {
    const decisions = new Map<RecordedRequest, Decision>()
    for (const group of byClient(requests)) {
      const view = viewOf(group[0]!.client)
      const authorities = [...new Set(group.map(({ url }) => new URL(url).host))]
      const { snapshot } = clientSnapshot(this.#translation, view, { authorities })
      withEngine(snapshot, (engine) => {
        for (const request of group) decisions.set(request, this.#one(engine, view, request))
      })
    }
    return requests.map((request) => decisions.get(request)!)
  }

  #one(engine: Engine, client: ClientView, request: RecordedRequest): Decision {
    const { method, url, headers = {} } = request
    const { outcome, destinations } = explain(engine, { method, url, headers })
    const main = destinations.find((d) => d.kind === 'cluster')
    const policy = (name: string) => main?.policies.find((p) => p.name === name)?.value ?? 'none'
    const rest = (d: ExplainedDestination) =>
      d.policies.filter((p) => !apart.has(p.name)).map((p) => `${p.name}: ${p.value}`)
    return {
      route: destinations.length === 0 ? outcome : destinations.map(targetWords).sort().join(', '),
      edits: distinct(destinations.map((d) => (d.rewritten === null ? 'none' : JSON.stringify(d.rewritten)))),
      timeout: policy('timeout'),
      retries: policy('retries'),
      policies: distinct(destinations.flatMap(rest)),
      access: distinct(destinations.map((d) => this.#access(d, client, request))),
    }
  }

  /** What the servers of a destination say; instances of one kind (their labels) share one answer. */
  #access(d: ExplainedDestination, client: ClientView, { method, url, headers = {} }: RecordedRequest): string {
    const fqdn = d.cluster?.split('|')[3] ?? ''
    const [, namespace = ''] = fqdn.split('.')
    const kinds = new Map(d.hosts.map((host) => [JSON.stringify(host.labels), host]))
    const target = new URL(url)
    for (const { address, labels } of kinds.values()) {
      const at = address.lastIndexOf(':')
      const name = inboundListenerName(address.slice(0, at).replace(/^\[|\]$/g, ''), Number(address.slice(at + 1)))
      const server = viewOf({ service: labels.app, namespace, labels })
      const key = `${name} ${JSON.stringify(server)}`
      let inbound = this.#servers.get(key)
      if (inbound === undefined) {
        const spec = clientSnapshot(this.#translation, server, { inbound: [name] }).snapshot.inbound.get(name)
        inbound = spec === undefined ? null : new Inbound(spec)
        this.#servers.set(key, inbound)
      }
      if (inbound === null) continue
      const { serviceAccount } = client
      const principal = spiffeIdOf({ trustDomain: defaults.trustDomain, namespace: client.namespace, serviceAccount })
      const path = d.rewritten?.path ?? target.pathname + target.search
      const authority = d.rewritten?.authority ?? target.host
      const said = explainInbound(inbound, { method, path, authority, headers, principal })
      if (!said.admitted) return `denied at ${fqdn}: ${said.summary}`
    }
    return 'allowed'
  }
}

/** Aspects of their own. */
const apart: ReadonlySet<string> = new Set(['timeout', 'retries', 'rewrite', 'header edits'])

function targetWords({ cluster, answer, share, kind }: ExplainedDestination): string {
  const to = answer !== null ? `answer ${answer.status}` : kind === 'passthrough' ? 'passthrough' : cluster
  return share === 1 ? `${to}` : `${to} ${Math.round(share * 10_000) / 100} %`
}

function distinct(texts: readonly string[]): string {
  return [...new Set(texts)].sort().join('; ')
}

function byClient(requests: readonly RecordedRequest[]): RecordedRequest[][] {
  const groups = new Map<string, RecordedRequest[]>()
  for (const request of requests) {
    const { service, namespace = 'default', labels = {} } = request.client
    const key = JSON.stringify([service, namespace, Object.entries(labels).sort()])
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [request])
    else group.push(request)
  }
  return [...groups.values()]
}
