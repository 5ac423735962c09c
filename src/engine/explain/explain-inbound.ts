import type { InboundMatch, InboundSpec } from '../../model/inbound.ts'
import type { Peer } from '../../model/peer.ts'
import { type AuthorizationView, compileRbac, explainRbac, type PolicyVerdict } from '../authorize.ts'
import type { Inbound } from '../inbound.ts'
import { compileInboundMatches, type InboundView } from '../inbound-match.ts'
import { authorizePath } from '../inbound-path.ts'
import { type Rejection, rejections } from '../rejection.ts'
import type { ExplainedAnswer } from './explanation.ts'
import { either, permissionWords, principalWords } from './inbound-words.ts'
import { duration, faultWords } from './words.ts'

/** A request that would come in. */
export interface InboundAsk {
  /** Default GET. */
  readonly method?: string
  /** With query, as it would be received. */
  readonly path: string
  /** Default "localhost". */
  readonly authority?: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** The caller's verified SPIFFE id; null or absent = plaintext. */
  readonly principal?: string | null
  /** Default 127.0.0.1. */
  readonly remoteAddress?: string
}

/** What a server would do with a request, and why: by the rules that requests are judged by. */
export interface InboundExplanation {
  /** Resource name of the policy, `inmesh/inbound/IP:PORT`. */
  readonly listener: string
  readonly admitted: boolean
  readonly summary: string
  /** How it would be refused; null = it would not. */
  readonly answer: ExplainedAnswer | null
  /** As policies see it; null = no path that anybody may see. */
  readonly path: string | null
  readonly filters: readonly ExplainedFilter[]
  /** Rate limits and faults that are about this request; their buckets and dice are not asked. */
  readonly policies: readonly { readonly name: string; readonly value: string }[]
}

export interface ExplainedFilter {
  readonly name: string
  readonly action: 'ALLOW' | 'DENY'
  readonly passes: boolean
  /** The rule that decided; null = none matched. */
  readonly decidedBy: string | null
  readonly policies: readonly ExplainedRbacPolicy[]
}

export interface ExplainedRbacPolicy {
  readonly name: string
  readonly matched: boolean
  /** What did not match; null = it did. */
  readonly why: string | null
}

/** Changes nothing: takes no token of a rate limit and counts no request. */
export function explainInbound({ spec }: Inbound, ask: InboundAsk): InboundExplanation {
  const view = new AskedInbound(ask, spec.name)
  const base = { listener: spec.name, admitted: false, path: null, filters: [], policies: [] }
  if (spec.tlsMode === 'STRICT' && view.peer === null)
    return { ...base, summary: 'refused: mutual TLS is required', answer: answerOf(rejections.plaintextRefused) }
  const { path, refusal } = authorizePath(spec.rbac.map(compileRbac), spec.pathNormalization, view, ask.path)
  if (path === null) return { ...base, summary: 'refused: no path', answer: answerOf(refusal ?? rejections.badPath) }
  const filters = spec.rbac.map((filter): ExplainedFilter => {
    const verdicts = explainRbac(filter, view, path.strict)
    const decided = verdicts.find((v) => v.permission && v.principal)
    return {
      name: filter.filterName,
      action: filter.action,
      passes: (decided !== undefined) === (filter.action === 'ALLOW'),
      decidedBy: decided?.policy.name ?? null,
      policies: verdicts.map((v) => ({
        name: v.policy.name,
        matched: v.permission && v.principal,
        why: whyNot(v, view),
      })),
    }
  })
  const admitted = refusal === undefined
  const by = filters.find((f) => !f.passes)
  const cause =
    by === undefined
      ? (refusal?.details ?? '')
      : by.decidedBy === null
        ? `no rule of ${by.name} allows it`
        : by.decidedBy
  return {
    ...{ listener: spec.name, admitted, path: path.strict, filters },
    policies: admitted ? policiesFor(spec, view.at(path.base + path.query, path.strict)) : [],
    summary: admitted ? 'admitted' : `refused: ${cause}`,
    answer: refusal === undefined ? null : answerOf(refusal),
  }
}

/** Ends without a newline. */
export function formatInboundExplanation(e: InboundExplanation): string {
  const lines = [`${e.listener}: ${e.summary}`]
  if (e.answer !== null) lines.push(`  answer ${e.answer.status} ${e.answer.details}`)
  if (e.path !== null) lines.push(`  path as policies see it: ${e.path}`)
  for (const { name, value } of e.policies) lines.push(`  ${name}: ${value}`)
  for (const filter of e.filters) {
    lines.push(`  ${filter.passes ? 'passes' : 'STOPS'} ${filter.action} ${filter.name}`)
    for (const { name, matched, why } of filter.policies)
      lines.push(`    ${matched ? '=>' : ' x'} ${name}${why === null ? '' : `: ${why}`}`)
  }
  return lines.join('\n')
}

function policiesFor(spec: InboundSpec, view: InboundView): { name: string; value: string }[] {
  const applies = (match: readonly InboundMatch[]) => compileInboundMatches(match)?.(view) ?? true
  const limits = spec.rateLimits.filter(({ match }) => applies(match))
  const fault = spec.faults.find(({ match }) => applies(match))
  return [
    ...limits.map(({ name, key, bucket, status }) => {
      const whose = key.kind === 'all' ? 'all together' : key.kind === 'identity' ? 'each caller' : `each ${key.name}`
      const { maxTokens, tokensPerFill, fillIntervalMs } = bucket
      const rate = `${tokensPerFill} per ${duration(fillIntervalMs)}, bursts of ${maxTokens}`
      return { name: `rate limit ${name}`, value: `${rate}, for ${whose}; else ${status}` }
    }),
    ...(fault === undefined ? [] : [{ name: 'fault', value: faultWords(fault.fault) }]),
    ...(spec.maxRequests === Number.POSITIVE_INFINITY
      ? []
      : [{ name: 'limit', value: `${spec.maxRequests} requests at one time` }]),
  ]
}

function whyNot({ policy, permission, principal }: PolicyVerdict, view: AuthorizationView): string | null {
  const parts: string[] = []
  if (!permission) parts.push(`asks for ${either(policy.permissions.map(permissionWords))}`)
  if (!principal) {
    const who = view.peer === null ? 'plaintext' : view.peer.spiffeId
    parts.push(`is for ${either(policy.principals.map(principalWords))}; the caller is ${who}`)
  }
  return parts.length === 0 ? null : parts.join('; ')
}

function answerOf({ status, flag, details, body, headers }: Rejection): ExplainedAnswer {
  return { status, flag, details, body, headers }
}

class AskedInbound implements AuthorizationView {
  readonly method: string
  readonly authority: string
  readonly peer: Peer | null
  readonly remoteAddress: string
  readonly localAddress: string
  readonly localPort: number
  private readonly headers: ReadonlyMap<string, readonly string[]>

  /** @param listener says the own address */
  constructor(
    { method = 'GET', authority = 'localhost', headers = {}, principal, remoteAddress }: InboundAsk,
    listener: string,
  ) {
    this.method = method
    this.authority = authority.toLowerCase()
    this.peer = principal === null || principal === undefined ? null : peerOf(principal)
    this.remoteAddress = remoteAddress ?? '127.0.0.1'
    const at = /([^/]+):(\d+)$/.exec(listener)
    this.localAddress = at?.[1]?.replace(/^\[|\]$/g, '') ?? ''
    this.localPort = Number(at?.[2] ?? 0)
    this.headers = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), [value].flat()]))
  }

  header(name: string): string | undefined {
    return this.headers.get(name)?.join(',')
  }

  /** As rules about paths see it. */
  at(path: string, policyPath: string): InboundView {
    const { method, authority, peer } = this
    return { method, authority, path, policyPath, peer, header: (name) => this.header(name) }
  }

  values(name: string): readonly string[] {
    return this.headers.get(name) ?? []
  }
}

function peerOf(spiffeId: string): Peer {
  const [, trustDomain = '', namespace = '', serviceAccount = ''] =
    /^spiffe:\/\/([^/]+)(?:\/ns\/([^/]+)\/sa\/([^/]+))?/.exec(spiffeId) ?? []
  const session = { serialNumber: '', notAfter: Number.POSITIVE_INFINITY, tlsVersion: 'TLSv1.3' }
  return { spiffeId, trustDomain, namespace, serviceAccount, ...session }
}
