import * as z from 'zod'
import { describeSelector } from './authorization-policy.ts'
import { duration, headerName, matchLabels, regexProblem, stringMatchOrPresent } from './fields.ts'
import type { Kind, Report } from './kind.ts'

const count = z.int().min(1).max(1_000_000_000)
const amount = {
  requests: count.describe('How many per `per`.'),
  per: duration(1).describe('Like "1s", "1m", "1h".'),
  burst: count.optional().describe('How many at once after a quiet time. Default: `requests`.'),
}

const path = z
  .strictObject({
    exact: z.string().optional(),
    prefix: z.string().optional().describe('Raw: "/foo" matches "/foobar".'),
    segments: z.string().optional().describe('Whole segments: "/foo" matches "/foo" and "/foo/bar".'),
    regex: z
      .string()
      .optional()
      .check((context) => {
        const message = context.value === undefined ? undefined : regexProblem(context.value)
        if (message !== undefined) context.issues.push({ code: 'custom', message, input: context.value })
      })
      .describe('RE2, the whole path without query.'),
  })
  .refine(
    (value) => Object.values(value).filter((v) => v !== undefined).length === 1,
    'must have exactly one of exact, prefix, segments, regex',
  )

const match = z.strictObject({
  path: path.optional(),
  methods: z.array(z.string().regex(/^[A-Z]+$/, 'is not a method (upper-case letters)')).default([]),
  headers: z.record(headerName, stringMatchOrPresent).default({}),
  principals: z
    .array(z.string().min(1))
    .default([])
    .describe('Verified callers as in AuthorizationPolicy: "cluster.local/ns/shop/sa/orders", one "*" at an edge.'),
})

const rule = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,63}$/, 'is not a rule name')
    .optional(),
  match: z.array(match).default([]).describe('Any of them; empty = all requests.'),
  key: z
    .string()
    .default('all')
    .refine((text) => text === 'all' || text === 'identity' || headerName.safeParse(headerOf(text)).success, {
      message: 'must be all, identity or header:NAME',
    })
    .describe(
      'Whose bucket: one for all, one for each verified caller ("identity"), one for each value of a header ("header:x-user").',
    ),
  ...amount,
  overrides: z
    .record(
      z.string().min(1),
      z.strictObject({ ...amount, per: amount.per.optional().describe('Default: that of the rule.') }),
    )
    .default({})
    .describe('Other amounts for single values of the key: a principal or a value of the header.'),
  status: z.int().min(400).max(599).default(429).describe('Of refused requests.'),
  headers: z.boolean().default(true).describe('x-ratelimit-limit, -remaining and -reset on every answer.'),
  global: z
    .boolean()
    .default(false)
    .describe("The amount is the whole service's: each healthy instance gets its share."),
})

const schema = z.strictObject({
  selector: z
    .strictObject({ matchLabels })
    .optional()
    .describe('Servers of the namespace that it is for; absent = all. In the root namespace: of all namespaces.'),
  rules: z
    .array(rule)
    .min(1, 'must have at least one rule')
    .describe('A request must pass every rule that matches it.'),
})

export type RateLimitSpec = z.output<typeof schema>
export type RateLimitRule = RateLimitSpec['rules'][number]

/** The header of a key like "header:x-user"; '' = the key is none. */
export function headerOf(key: string): string {
  return key.startsWith('header:') ? key.slice('header:'.length).toLowerCase() : ''
}

export const rateLimit: Kind<'RateLimit', typeof schema> = {
  kind: 'RateLimit',
  names: ['ratelimit', 'ratelimits', 'rl'],
  apiVersions: ['inmesh.dev/v1'],
  schema,
  unsupported: [],
  check(spec, report) {
    const names = new Set<string>()
    spec.rules.forEach((each, index) => {
      if (each.name !== undefined && names.has(each.name))
        report('error', ['rules', index, 'name'], `the rule "${each.name}" is there twice`)
      names.add(each.name ?? '')
      checkRule(each, ['rules', index], report)
    })
  },
  docs: 'How many requests servers take, by token buckets: of a route, of a caller, of a value of a header, per instance or for the whole service. What is too much is answered 429 with Retry-After.',
  columns: [
    { title: 'SELECTOR', value: (spec) => describeSelector(spec.selector?.matchLabels) },
    {
      title: 'RULES',
      value: (spec) => spec.rules.map((r) => `${r.name ?? r.key}: ${r.requests}/${r.per}ms`).join(', '),
    },
  ],
}

function checkRule(each: RateLimitRule, at: (string | number)[], report: Report): void {
  if (each.key === 'all' && Object.keys(each.overrides).length > 0)
    report('error', [...at, 'overrides'], 'needs a key: there is one bucket for all')
  each.match.forEach(({ path: condition }, index) => {
    for (const how of ['exact', 'prefix', 'segments'] as const)
      if (condition?.[how] !== undefined && !condition[how].startsWith('/'))
        report('warning', [...at, 'match', index, 'path', how], 'never matches: paths begin with "/"')
  })
}
