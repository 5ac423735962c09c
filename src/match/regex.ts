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
  if (pattern.length > MAX_LENGTH) {
    throw new InmeshError(
      'ERR_INMESH_INVALID_OPTION',
      `regex has ${pattern.length} characters: at most ${MAX_LENGTH} are allowed`,
    )
  }
  let compiled: RE2JS
  try {
    compiled = RE2JS.compile(pattern)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${JSON.stringify(pattern)} is not an RE2 regex: ${reason}`, {
      cause,
    })
  }
  if (pattern === '.*') return isOneLine
  if (SIMPLE.test(pattern)) {
    const native = new RegExp(`^(?:${pattern})$`)
    return (text) => native.test(text)
  }
  return (text) => compiled.matches(text)
}

/** `.` does not match a newline. */
function isOneLine(text: string): boolean {
  return !text.includes('\n')
}
