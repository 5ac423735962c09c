import { lookup as systemLookup } from 'node:dns'
import { closeSync, openSync } from 'node:fs'
import { devNull } from 'node:os'
import type { DnsSpec } from '../model/cluster.ts'
import type { LookupResult } from './name-state.ts'

/** Asks for a name's addresses; never rejects. */
export type Lookup = (name: string, family: DnsSpec['family']) => Promise<LookupResult>

/** As every other program of the machine would: hosts file, search domains, DNS (getaddrinfo). */
export const lookup: Lookup = (name, family) =>
  new Promise((resolve) => {
    systemLookup(name, { all: true, order: 'ipv4first', family: families[family] }, (error, found) => {
      if (error === null) {
        // 'any' takes IPv6 where there is no IPv4 only (Envoy V4_PREFERRED).
        const preferred =
          family === 'any' && found.some((a) => a.family === 4) ? found.filter((a) => a.family === 4) : found
        resolve(
          preferred.length > 0 ? { kind: 'addresses', addresses: preferred.map((a) => a.address) } : { kind: 'none' },
        )
      } else resolve({ kind: isNegative(error.code ?? '') ? 'none' : 'failed' })
    })
  })

const families = { any: 0, v4: 4, v6: 6 } as const

/** A process without free file descriptors is told ENOTFOUND for every name: that says nothing about the name. */
function isNegative(code: string): boolean {
  if (code !== 'ENOTFOUND' && code !== 'ENODATA') return false
  try {
    closeSync(openSync(devNull, 'r'))
    return true
  } catch {
    // No descriptor left, which is why the lookup failed.
    return false
  }
}
