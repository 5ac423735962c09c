import { RE2JS } from 're2js'
import { InmeshError } from '../errors.ts'

/** Istio's limit; a longer pattern is a mistake or an attack. */
const MAX_LENGTH = 1024

/**
 * What V8 runs in linear time and reads as RE2 does: literals and plain character classes, nothing repeated. Everything
 * else goes to the RE2 engine.
 */
const SIMPLE = /^(?:[A-Za-z0-9_/:@%&=,;~!#"'<> -]|\\[.\-/+*?()[\]{}|^$\\]|\[(?:[A-Za-z0-9_./:@%=,-])+\])+$/

/**
 * Compiles a pattern of RE2 syntax to a test of the *whole* text. Linear in the text, whatever the pattern.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION with RE2's reason
 */
export function compileRegex(pattern: string): (text: string) => boolean {
  let test = known.get(pattern)
  if (test === undefined) {
    test = compileWhole(pattern)
    if (known.size >= MAX_KNOWN) known.clear()
    known.set(pattern, test)
  }
  return test
}

/** Many routes have the same few patterns, and what RE2 keeps for one is not small. */
const known = new Map<string, (text: string) => boolean>()
const MAX_KNOWN = 2_000

function compileWhole(pattern: string): (text: string) => boolean {
  const compiled = compile(pattern)
  if (pattern === '.*') return isOneLine
  if (SIMPLE.test(pattern)) {
    const native = new RegExp(`^(?:${pattern})$`)
    return (text) => native.test(text)
  }
  const prefix = literalPrefix(pattern)
  if (prefix === '') return (text) => compiled.matches(text)
  return (text) => text.startsWith(prefix) && compiled.matches(text)
}

/** What every match begins with, as far as that is easily seen; '' = nothing is known. */
function literalPrefix(pattern: string): string {
  if (pattern.includes('|')) return ''
  const literal = /^[A-Za-z0-9_/:@%&=,;~!#"'<> -]*/.exec(pattern)![0]
  // The last character belongs to what says how often it comes.
  return /^[*?{+]/.test(pattern.slice(literal.length)) ? literal.slice(0, -1) : literal
}

/** `.` does not match a newline. */
function isOneLine(text: string): boolean {
  return !text.includes('\n')
}

/**
 * Replaces every match of an RE2 pattern, as RE2's GlobalReplace: `\1` to `\9` in the substitution are groups, `\0` the
 * whole match, `\\` a backslash.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for a pattern or a substitution that cannot be used
 */
export function compileReplace(pattern: string, substitution: string): (text: string) => string {
  const compiled = compile(pattern)
  const groups = compiled.groupCount()
  const parts: (string | number)[] = []
  for (const [, group, escaped, plain] of substitution.matchAll(/\\([0-9])|\\(.?)|([^\\]+)/gs)) {
    if (escaped !== undefined && escaped !== '\\') throw badSubstitution(substitution, `\\${escaped} means nothing`)
    if (group !== undefined && Number(group) > groups)
      throw badSubstitution(substitution, `the pattern has ${groups} groups`)
    parts.push(group === undefined ? (plain ?? '\\') : Number(group))
  }
  return (text) => {
    const matcher = compiled.matcher(text)
    let out = ''
    let from = 0
    let begin = -1
    while (matcher.find()) {
      // Where a match ended no empty one begins.
      if (matcher.end() === from && begin < from && begin >= 0) continue
      begin = matcher.start()
      out += text.slice(from, matcher.start())
      for (const part of parts) out += typeof part === 'string' ? part : (matcher.group(part) ?? '')
      from = matcher.end()
    }
    return from === 0 && out === '' ? text : out + text.slice(from)
  }
}

function badSubstitution(substitution: string, reason: string): InmeshError {
  return new InmeshError('ERR_INMESH_INVALID_OPTION', `substitution ${JSON.stringify(substitution)}: ${reason}`)
}

function compile(pattern: string): RE2JS {
  if (pattern.length > MAX_LENGTH) {
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      `regex has ${pattern.length} characters: at most ${MAX_LENGTH} are allowed`,
    )
  }
  try {
    return RE2JS.compile(pattern)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${JSON.stringify(pattern)} is not an RE2 regex: ${reason}`, {
      cause,
    })
  }
}
