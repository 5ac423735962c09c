import { RE2JS } from 're2js'

/** Throws when `pattern` is not RE2 syntax. Interim until the compiled matchers are there. */
export function compileRegex(pattern: string): RE2JS {
  return RE2JS.compile(pattern)
}
