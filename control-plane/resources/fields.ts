import { isIP } from 'node:net'
import * as z from 'zod'
import { compileRegex } from '../../src/match/regex.ts'
import type { StringMatch } from '../../src/model/match.ts'
import { parseDuration } from './duration.ts'
import { wholeRegex } from './patterns.ts'

/** Building blocks of the kinds' schemas: each parses a field as it is written into what translation works with. */

/** Written like "1.5s"; milliseconds once parsed. */
export function duration(minMs: number) {
  return z
    .string('must be a duration with its unit (like "250ms", "5s", "1h30m")')
    .meta({ title: 'duration' })
    .transform((text, context): number => {
      const ms = parseDuration(text)
      if (ms === undefined) return refuse(context, `"${text}" is not a duration (like "250ms", "5s", "1h30m")`)
      if (ms < minMs) return refuse(context, `must be at least ${minMs}ms`)
      return ms
    })
}

function refuse(context: z.core.$RefinementCtx<string>, message: string): never {
  context.issues.push({ code: 'custom', message, input: context.value })
  return z.NEVER
}

export const uint32 = z.int().min(0).max(4_294_967_295)
export const port = z.int().min(1).max(65_535)
export const percent = z.number().min(0).max(100)

const dnsLabel = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?'
const dnsName = new RegExp(`^${dnsLabel}(?:\\.${dnsLabel})*$`)

/** Kubernetes object name (RFC 1123 subdomain). */
export const objectName = z
  .string()
  .max(253)
  .regex(dnsName, 'must be lower-case letters, digits, "-" and ".", beginning and ending with a letter or digit')
export const namespaceName = z
  .string()
  .regex(
    new RegExp(`^${dnsLabel}$`),
    'must be at most 63 lower-case letters, digits and "-", beginning and ending with a letter or digit',
  )

/** A service as rules name it: short name, DNS name, "*.suffix" or IP address; lower case once parsed. */
export const host = z
  .string()
  .transform((text) => text.toLowerCase())
  .refine(
    (text) => text.length <= 253 && (isIP(text) !== 0 || dnsName.test(text.replace(/^\*\./, '').replace(/\.$/, ''))),
    'is not a host name',
  )
/** A host that calls can be sent to. */
export const destinationHost = host.refine((text) => !text.includes('*'), 'a destination cannot have a wildcard')

const labelName = '[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?'
const labelKey = new RegExp(`^(?:${dnsLabel}(?:\\.${dnsLabel})*/)?${labelName}$`)
export const labels = z.record(
  z.string().regex(labelKey, 'is not a label name'),
  z
    .string()
    .regex(new RegExp(`^(?:${labelName})?$`), 'is not a label value (at most 63 letters, digits, "-", "_", ".")'),
)
/** Non-empty: an empty selector would select everything, which nobody writes on purpose. */
export const matchLabels = labels.refine((value) => Object.keys(value).length > 0, 'must name at least one label')

/** Why `pattern` is not a regular expression that may be used here; undefined if it is. RE2 only: linear time. */
export function regexProblem(pattern: string): string | undefined {
  try {
    compileRegex(wholeRegex(pattern))
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

const regexUnless = (other?: string) =>
  z.string().check((context) => {
    const message = context.value === other ? undefined : regexProblem(context.value)
    if (message !== undefined) context.issues.push({ code: 'custom', message, input: context.value })
  })

const stringMatchFields = z.strictObject(
  {
    exact: z.string().optional(),
    prefix: z.string().optional(),
    regex: regexUnless().optional(),
  },
  'must be one of { exact: ... }, { prefix: ... }, { regex: ... }',
)

function toMatch(fields: z.output<typeof stringMatchFields>): StringMatch | undefined {
  if (fields.exact !== undefined) return { kind: 'exact', value: fields.exact, ignoreCase: false }
  if (fields.prefix !== undefined) return { kind: 'prefix', value: fields.prefix, ignoreCase: false }
  return fields.regex === undefined ? undefined : { kind: 'regex', value: fields.regex }
}

const oneOf = (allowNone: boolean) => (fields: z.output<typeof stringMatchFields>) => {
  const set = Object.values(fields).filter((value) => value !== undefined).length
  return set === 1 || (allowNone && set === 0)
}

const emptyPrefix = { message: 'must not be empty', path: ['prefix'] }

function hasText(match: StringMatch): boolean {
  return match.kind !== 'prefix' || match.value !== ''
}

/** Istio StringMatch with exactly one of exact, prefix, regex. */
export const stringMatch = stringMatchFields
  .refine(oneOf(false), 'must have exactly one of exact, prefix, regex')
  .transform((fields): StringMatch => toMatch(fields)!)

/** An empty prefix would match whatever comes; only a path may have one. */
export const nonEmptyMatch = stringMatch.refine(hasText, emptyPrefix)

/** As nonEmptyMatch, where {} and regex "*" mean "is there at all": 'present'. */
export const stringMatchOrPresent = stringMatchFields
  .omit({ regex: true })
  .extend({ regex: regexUnless('*').optional() })
  .refine(oneOf(true), 'must have at most one of exact, prefix, regex')
  .transform((fields): StringMatch | 'present' => (fields.regex === '*' ? 'present' : (toMatch(fields) ?? 'present')))
  .refine((match) => match === 'present' || hasText(match), emptyPrefix)

/** RFC 9110 token, lower case once parsed. */
export const headerName = z
  .string()
  .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'is not a header name')
  .transform((text) => text.toLowerCase())
