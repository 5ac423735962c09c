import { compileCidr, unmapped } from '../match/cidr.ts'
import type { ChainMatch } from '../model/inbound.ts'
import type { Cidr } from '../model/match.ts'

/** The addresses of a connection. */
export interface Ends {
  readonly localAddress: string
  readonly remoteAddress: string
}

interface Range {
  /** -1 = anywhere. */
  readonly length: number
  readonly holds: (address: string) => boolean
}

interface Compiled<T> {
  readonly destination: Range
  readonly sourceType: ChainMatch['sourceType']
  readonly source: Range
  readonly value: T
}

/**
 * Finds the chain of a connection as gRFC A36 and Envoy have it: the most specific destination, of those the most specific kind of
 * source, of those the most specific source. What a stage leaves out does not come back. Else it is the default.
 */
export function compileChains<T>(
  chains: readonly { readonly match: ChainMatch | null; readonly value: T }[],
): (ends: Ends) => T | null {
  const compiled: Compiled<T>[] = []
  let rest: T | null = null
  for (const { match, value } of chains) {
    if (match === null) rest = value
    else {
      const { destination, sourceType, source } = match
      compiled.push({ destination: rangeOf(destination), sourceType, source: rangeOf(source), value })
    }
  }
  return ({ localAddress, remoteAddress }) => {
    const to = mostSpecific(compiled, (chain) =>
      chain.destination.holds(localAddress) ? chain.destination.length : null,
    )
    const near = isNear(localAddress, remoteAddress)
    const of = mostSpecific(to, ({ sourceType }) => {
      if (sourceType === 'ANY') return 0
      return (sourceType === 'SAME_IP_OR_LOOPBACK') === near ? 1 : null
    })
    const [found] = mostSpecific(of, ({ source }) => (source.holds(remoteAddress) ? source.length : null))
    return found === undefined ? rest : found.value
  }
}

/** @param rank null = does not match */
function mostSpecific<C>(candidates: readonly C[], rank: (candidate: C) => number | null): readonly C[] {
  let best = Number.NEGATIVE_INFINITY
  let found: C[] = []
  for (const candidate of candidates) {
    const own = rank(candidate)
    if (own === null || own < best) continue
    if (own > best) found = []
    best = own
    found.push(candidate)
  }
  return found
}

function rangeOf(cidr: Cidr | null): Range {
  return cidr === null ? { length: -1, holds: () => true } : { length: cidr.prefixLength, holds: compileCidr(cidr) }
}

const loopback = compileCidr({ address: '127.0.0.0', prefixLength: 8 })

function isNear(local: string, remote: string): boolean {
  const from = unmapped(remote)
  return from === '::1' || loopback(from) || from === unmapped(local)
}
