import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { Hash64 } from '../match/hash64.ts'
import { compileReplace } from '../match/regex.ts'
import { xxHash64 } from '../match/xxhash64.ts'
import type { HashSpec } from '../model/route.ts'
import type { Call } from './call.ts'
import { endOfPath, firstValue } from './compile-match.ts'
import type { FormatView, ResponseHeaders } from './format.ts'
import type { HashPolicy, ResponseEdits } from './route.ts'

/** What a call is hashed by; null = it has none of that. */
type Source = (call: Call) => string | null

/**
 * Envoy's hash_policy: the xxHash64 of each value that is there, combined in order; after the first of a terminal policy the
 * others do not count. Only clusters that hash ask; for others no cookie is made either.
 */
export function compileHash(specs: readonly HashSpec[]): HashPolicy | null {
  if (specs.length === 0) return null
  const parts = specs.map((spec) => ({ source: compileSource(spec), terminal: spec.terminal }))
  return {
    hash(call) {
      const { policy } = call.cluster.spec.lb
      if (policy !== 'RING_HASH' && policy !== 'MAGLEV') return null
      let hash: Hash64 | null = null
      for (const { source, terminal } of parts) {
        const text = source(call)
        if (text !== null) {
          const next = xxHash64(text, new Hash64())
          if (hash === null) hash = next
          else hash.mix(next)
        }
        if (terminal && hash !== null) break
      }
      return hash
    },
  }
}

/** Gives the callers of answers the cookies that were made for them; null = none is ever made. */
export function compileCookies(specs: readonly HashSpec[]): ResponseEdits | null {
  if (!specs.some((spec) => spec.kind === 'cookie' && spec.ttlMs !== null)) return null
  return {
    names: ['set-cookie'],
    apply(headers: ResponseHeaders, { call }: FormatView) {
      if (call === null || call.cookies === null) return false
      headers['set-cookie'] = [headers['set-cookie'] ?? [], call.cookies].flat()
      return true
    },
  }
}

const PROCESS = randomUUID()

function compileSource(spec: HashSpec): Source {
  switch (spec.kind) {
    case 'header': {
      const value: Source = ({ exchange }) => {
        const lines = exchange.headerLines?.(spec.name) ?? []
        // The order of lines says nothing, so it must not decide.
        return lines.length > 1 ? [...lines].sort().join('') : (exchange.header(spec.name) ?? null)
      }
      if (spec.rewrite === undefined) return value
      const replace = compileReplace(spec.rewrite.pattern, spec.rewrite.substitution)
      return (call) => {
        const text = value(call)
        return text === null ? null : replace(text)
      }
    }
    case 'process':
      return () => PROCESS
    case 'query':
      return ({ exchange: { path } }) => firstValue(path, endOfPath(path) + 1, spec.name) ?? null
    case 'source-ip':
      return ({ exchange }) => exchange.sourceAddress ?? hostname()
    case 'cookie': {
      const { name, ttlMs, path } = spec
      return (call) =>
        cookieOf(call.exchange.header('cookie'), name) ?? (ttlMs === null ? null : bake(call, name, ttlMs, path))
    }
  }
}

/** The value of a cookie of a request; null = none, or an empty one. Quotes are not part of it. */
export function cookieOf(header: string | undefined, name: string): string | null {
  if (header === undefined) return null
  for (const pair of header.split(/[;,]/)) {
    const at = pair.indexOf('=')
    if (at < 0 || pair.slice(0, at).trim() !== name) continue
    const value = pair.slice(at + 1).trim()
    const bare = value.length > 1 && value.startsWith('"') && value.endsWith('"') ? value.slice(1, -1) : value
    return bare === '' ? null : bare
  }
  return null
}

/** Makes a cookie: the answer brings it to the caller, whose next request with it goes to the same host. */
function bake(call: Call, name: string, ttlMs: number, path: string): string {
  const { random } = call.env
  const value = new Hash64(random.u32(), random.u32()).toString()
  const age = ttlMs > 0 ? `; Max-Age=${Math.floor(ttlMs / 1_000)}` : ''
  const where = path === '' ? '' : `; Path=${path}`
  call.cookies ??= []
  call.cookies.push(`${name}="${value}"${age}${where}; HttpOnly`)
  return value
}
