import type * as z from 'zod'
import type { FieldPath } from './document.ts'
import type { Kind, UnsupportedField } from './kind.ts'
import { suggest } from './suggest.ts'

export interface SpecProblem {
  severity: 'error' | 'warning'
  /** Inside `spec`. */
  path: FieldPath
  /** Whether the path names a key (which then stands in the text) rather than a value. */
  at: 'key' | 'value'
  message: string
  suggestion?: string
  code?: string
}

export interface ParsedSpec {
  /** undefined when a problem is an error. */
  readonly spec: unknown
  /** As written, with the spellings of the schema: what the store keeps. */
  readonly canonical: unknown
  readonly problems: SpecProblem[]
}

/** Reads a spec by its kind's schema: other spellings renamed, nulls dropped, unsupported fields taken out and reported. */
export function parseSpec(kind: Kind, raw: unknown): ParsedSpec {
  const problems: SpecProblem[] = []
  const canonical = rename(dropNulls(raw ?? {}), kind, problems)
  const supported = structuredClone(canonical)
  for (const field of kind.unsupported) takeOut(supported, field.path.split('.'), [], field, problems)
  const result = kind.schema.safeParse(supported, { reportInput: true })
  if (!result.success) problems.push(...zodProblems(result.error, kind.schema))
  const failed = problems.some((problem) => problem.severity === 'error')
  return { spec: failed ? undefined : result.data, canonical, problems }
}

/** What the schema found, in the words of a reader. */
export function zodProblems(error: z.core.$ZodError, schema: z.ZodType): SpecProblem[] {
  return error.issues.flatMap((issue) => fromIssue(issue, schema))
}

/** `rules:` with nothing after it reads as null; it means "absent", never "empty". */
function dropNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => (item === null ? null : dropNulls(item)))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      // zod skips this key without a word, and a condition that is skipped matches too much.
      .map(([key, item]) => [key === '__proto__' ? '"__proto__"' : key, item])
      .filter(([, item]) => item !== null && item !== undefined)
      .map(([key, item]) => [key, dropNulls(item)]),
  )
}

function rename(value: unknown, kind: Kind, problems: SpecProblem[]): unknown {
  const aliases = kind.aliases
  if (aliases === undefined || typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const renamed: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    const name = Object.hasOwn(aliases, key) ? aliases[key]! : key
    if (Object.hasOwn(renamed, name))
      problems.push({ severity: 'error', path: [key], at: 'key', message: `is another spelling of ${name}, set twice` })
    renamed[name] = item
  }
  return renamed
}

function takeOut(
  value: unknown,
  steps: string[],
  path: FieldPath,
  field: UnsupportedField,
  problems: SpecProblem[],
): void {
  const [step, ...rest] = steps
  if (step === undefined || typeof value !== 'object' || value === null) return
  const name = step.replace('[]', '')
  const holder = value as Record<string, unknown>
  if (!Object.hasOwn(holder, name)) return
  const child = holder[name]
  if (rest.length > 0) {
    const children: unknown[] = step.endsWith('[]') ? (Array.isArray(child) ? child : []) : [child]
    for (const [index, each] of children.entries())
      takeOut(each, rest, step.endsWith('[]') ? [...path, name, index] : [...path, name], field, problems)
    return
  }
  delete holder[name]
  problems.push({
    severity: field.severity,
    path: [...path, name],
    at: 'key',
    message: field.why ?? (field.severity === 'error' ? notYet : `${notYet} and has no effect`),
  })
}

const notYet = 'is not supported yet'

function fromIssue(issue: z.core.$ZodIssue, schema: z.ZodType): SpecProblem[] {
  const path = issue.path.map((step) => (typeof step === 'number' ? step : String(step)))
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({
      severity: 'error' as const,
      path: [...path, key],
      at: 'key' as const,
      message: 'unknown field',
      ...optional(suggest(key, knownKeys(schema, path))),
    }))
  if (issue.code === 'invalid_key')
    return [{ severity: 'error', path, at: 'key', message: issue.issues[0]?.message ?? issue.message }]
  const message = describe(issue)
  const hint = issue.code === 'invalid_value' ? suggest(String(issue.input), issue.values.map(String)) : undefined
  return [{ severity: 'error', path, at: 'value', message, ...optional(hint) }]
}

function optional(suggestion: string | undefined): { suggestion?: string } {
  return suggestion === undefined ? {} : { suggestion }
}

function describe(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type' && issue.input === undefined) return 'is required'
  if (issue.code === 'invalid_type') {
    // The message of a schema that says more than its type ("must be a duration (like ...)").
    if (!issue.message.startsWith('Invalid')) return `${issue.message}, not ${show(issue.input)}`
    return `must be ${article(issue.expected)}, not ${show(issue.input)}${quotes(issue.expected, issue.input)}`
  }
  if (issue.code === 'too_small' && typeof issue.input === 'number')
    return `must be ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}`
  if (issue.code === 'too_big' && typeof issue.input === 'number') return `must be at most ${issue.maximum}`
  const standard = issue.message.startsWith('Invalid') || issue.message.startsWith('Too')
  if (issue.code === 'invalid_value' && standard) return `must be one of ${issue.values.join(', ')}`
  const { input, message } = issue
  // "is not a host name" wants to be told of what.
  return typeof input === 'string' && message.startsWith('is ') ? `${JSON.stringify(input)} ${message}` : message
}

/** What to do when only the quotes are wrong. */
function quotes(expected: string, input: unknown): string {
  if (expected === 'string' && typeof input !== 'object') return ': put it in quotes'
  if (typeof input !== 'string') return ''
  const bare = expected === 'boolean' ? /^(?:true|false)$/ : /^-?\d+(?:\.\d+)?$/
  return ['boolean', 'number', 'int'].includes(expected) && bare.test(input) ? ': take the quotes away' : ''
}

function article(type: string): string {
  if (type === 'int') return 'a whole number'
  if (type === 'record' || type === 'object') return 'a mapping'
  return type === 'array' ? 'a list' : `a ${type}`
}

function show(value: unknown): string {
  if (Array.isArray(value)) return 'a list'
  if (value === null || typeof value !== 'object') return JSON.stringify(value)
  return 'a mapping'
}

/** Names of the fields that the schema knows at `path`. */
function knownKeys(schema: unknown, path: FieldPath): string[] {
  let here = unwrap(schema)
  for (const step of path) {
    const def = here?.def
    here = unwrap(typeof step === 'number' ? def?.element : (def?.shape?.[step] ?? def?.valueType))
  }
  return Object.keys(here?.def.shape ?? {})
}

interface Inspectable {
  def: { shape?: Record<string, unknown>; element?: unknown; valueType?: unknown; innerType?: unknown; in?: unknown }
}

/** Looks through optional, default and transform. */
function unwrap(schema: unknown): Inspectable | undefined {
  let here = schema as Inspectable | undefined
  while (here?.def.innerType !== undefined || here?.def.in !== undefined)
    here = (here.def.innerType ?? here.def.in) as Inspectable
  return here
}
