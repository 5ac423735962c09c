import type {
  InboundFault,
  InboundMatch as InboundMatchMessage,
  InboundPolicy,
  LoadShedding,
  RateLimit,
  TextMatch,
  TokenBucket,
} from '../../gen/inmesh/v1/extensions_pb.js'
import { compileRegex } from '../../match/regex.ts'
import {
  type BucketSpec,
  type InboundFaultSpec,
  type InboundMatch,
  type InboundSpec,
  inboundDefaults,
  type RateLimitSpec,
  type ShedSpec,
  shedDefaults,
} from '../../model/inbound.ts'
import type { HeaderMatch, StringMatch } from '../../model/match.ts'
import type { FaultAbort, PathMatch } from '../../model/route.ts'
import { durationMs, positiveMs } from './duration.ts'
import type { Field } from './field.ts'
import { percent } from './percent.ts'

export type InboundExtras = Pick<
  InboundSpec,
  'pathNormalization' | 'rateLimits' | 'shed' | 'faults' | 'maxRequests' | 'maxConnections'
>

/** inmesh.v1.InboundPolicy: what a server enforces that a listener has no field for. Absent = the defaults. */
export function inboundExtras(field: Field, message: InboundPolicy | undefined): InboundExtras {
  if (message === undefined) return inboundDefaults
  const rateLimits = field.at('rate_limits').map(message.rateLimits, (limit, at) => rateLimit(at, limit))
  const seen = new Set<string>()
  for (const { name } of rateLimits) {
    if (seen.has(name)) field.at('rate_limits').fail(`"${name}" appears twice`)
    seen.add(name)
  }
  return {
    pathNormalization: normalization(field.at('path_normalization'), message.pathNormalization),
    rateLimits,
    shed: message.loadShedding === undefined ? null : shed(field.at('load_shedding'), message.loadShedding),
    faults: field.at('faults').map(message.faults, (f, at) => fault(at, f)),
    maxRequests: message.maxRequests === 0 ? Number.POSITIVE_INFINITY : message.maxRequests,
    maxConnections: message.maxConnections === 0 ? Number.POSITIVE_INFINITY : message.maxConnections,
  }
}

const normalizations = ['NONE', 'BASE', 'MERGE_SLASHES', 'DECODE_AND_MERGE_SLASHES'] as const

function normalization(field: Field, text: string): InboundSpec['pathNormalization'] {
  if (text === '') return inboundDefaults.pathNormalization
  return normalizations.find((known) => known === text) ?? field.fail(`"${text}" is not a known value`)
}

function rateLimit(field: Field, message: RateLimit): RateLimitSpec {
  const { status, key } = message
  if (message.name === '') field.at('name').fail('is missing')
  if (status !== 0 && (status < 400 || status > 599)) field.at('status').fail(`must be 400 to 599, is ${status}`)
  const overrides = Object.keys(message.overrides).sort()
  return {
    name: message.name,
    match: field.at('match').map(message.match, (m, at) => inboundMatch(at, m)),
    key:
      key.case === 'header'
        ? { kind: 'header', name: headerName(field.at('header'), key.value) }
        : { kind: key.case === 'identity' && key.value ? 'identity' : 'all' },
    bucket: bucket(field.at('bucket'), message.bucket),
    overrides: overrides.map((value) => ({
      value,
      bucket: bucket(field.at('overrides').index(value), message.overrides[value]),
    })),
    status: status === 0 ? 429 : status,
    grpcStatus: 8,
    answerHeaders: [],
    headers: message.headers,
    global: message.global,
  }
}

function bucket(field: Field, message: TokenBucket | undefined): BucketSpec {
  if (message === undefined) return field.fail('is missing')
  if (message.maxTokens === 0) field.at('max_tokens').fail('must be greater than 0')
  if (message.fillInterval === undefined) field.at('fill_interval').fail('is missing')
  return {
    maxTokens: message.maxTokens,
    tokensPerFill: Math.max(1, message.tokensPerFill),
    fillIntervalMs: positiveMs(field.at('fill_interval'), message.fillInterval, 0),
  }
}

function shed(field: Field, message: LoadShedding): ShedSpec {
  const orDefault = (value: number, fallback: number) => (value === 0 ? fallback : value)
  const minLimit = orDefault(message.minLimit, shedDefaults.minLimit)
  const maxLimit = orDefault(message.maxLimit, shedDefaults.maxLimit)
  if (minLimit > maxLimit) field.at('min_limit').fail(`${minLimit} is more than max_limit ${maxLimit}`)
  const initial = orDefault(message.initialLimit, shedDefaults.initialLimit)
  return {
    enabled: !message.disabled,
    // A bound that was asked for holds from the start.
    initialLimit: Math.min(Math.max(initial, minLimit), maxLimit),
    minLimit,
    maxLimit,
    lagMs: positiveMs(field.at('lag'), message.lag, shedDefaults.lagMs),
    emergencyLagMs: positiveMs(field.at('emergency_lag'), message.emergencyLag, shedDefaults.emergencyLagMs),
  }
}

function fault(field: Field, message: InboundFault): InboundFaultSpec {
  const share = (at: Field, value: number) => Math.round(percent(at, value) * 10_000)
  const ms = durationMs(field.at('delay'), message.delay, 0)
  return {
    match: field.at('match').map(message.match, (m, at) => inboundMatch(at, m)),
    fault: {
      delay: ms === 0 ? null : { ms, perMillion: share(field.at('delay_percent'), message.delayPercent) },
      abort: abort(field, message, share(field.at('abort_percent'), message.abortPercent)),
      headers: [],
      maxActive: Number.POSITIVE_INFINITY,
    },
  }
}

function abort(field: Field, message: InboundFault, perMillion: number): FaultAbort | null {
  const { abortStatus: status, abortGrpcStatus: code } = message
  if (perMillion === 0) return null
  if (status !== 0) {
    if (status < 200 || status > 599) field.at('abort_status').fail(`must be 200 to 599, is ${status}`)
    return { perMillion, how: { kind: 'http', status } }
  }
  if (code === -1) return null
  if (code < 0 || code > 16) field.at('abort_grpc_status').fail(`must be -1 to 16, is ${code}`)
  return { perMillion, how: { kind: 'grpc', code } }
}

function inboundMatch(field: Field, message: InboundMatchMessage): InboundMatch {
  return {
    path: path(field, message),
    methods: message.methods,
    headers: Object.keys(message.headers)
      .sort()
      .map((name) => header(field.at('headers').index(name), name, message.headers[name]!)),
    principals: field.at('principals').map(message.principals, (p, at) => principal(at, p)),
  }
}

function path(field: Field, message: InboundMatchMessage): PathMatch | null {
  const given = [
    ['exact', message.pathExact],
    ['prefix', message.pathPrefix],
    ['segments', message.pathSegments],
    ['regex', message.pathRegex],
  ] as const
  const set = given.filter(([, value]) => value !== '')
  if (set.length > 1) field.fail(`has ${set.map(([kind]) => `path_${kind}`).join(' and ')}, at most one is possible`)
  const [first] = set
  if (first === undefined) return null
  const [kind, value] = first
  return kind === 'regex' ? { kind, value: regex(field.at('path_regex'), value) } : { kind, value, ignoreCase: false }
}

function header(field: Field, given: string, message: TextMatch): HeaderMatch {
  const base = { name: headerName(field, given), invert: false, missingAsEmpty: false }
  if (message.how.case === 'present') return { ...base, kind: 'present', present: message.how.value }
  return { ...base, kind: 'string', match: text(field, message) }
}

function principal(field: Field, message: TextMatch): StringMatch {
  // Whoever has an identity at all.
  if (message.how.case === 'present') return { kind: 'prefix', value: 'spiffe://', ignoreCase: false }
  return text(field, message)
}

function text(field: Field, { how }: TextMatch): StringMatch {
  switch (how.case) {
    case 'exact':
    case 'prefix':
    case 'suffix':
      if (how.value === '' && how.case !== 'exact') field.at(how.case).fail('must not be empty')
      return { kind: how.case, value: how.value, ignoreCase: false }
    case 'regex':
      return { kind: 'regex', value: regex(field.at('regex'), how.value) }
    default:
      return field.fail('is missing a pattern')
  }
}

function regex(field: Field, pattern: string): string {
  if (pattern === '') field.fail('must not be empty')
  try {
    compileRegex(pattern)
  } catch (error) {
    field.fail(error instanceof Error ? error.message : String(error))
  }
  return pattern
}

function headerName(field: Field, given: string): string {
  const name = given.toLowerCase()
  if (!/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) field.fail(`${JSON.stringify(given)} is not a header name`)
  return name
}
