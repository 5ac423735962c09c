import { isIP } from 'node:net'
import type { Cidr } from '../../src/model/match.ts'

/** An address ("10.1.0.5") or a block ("10.0.0.0/8", "fd00::/8"); undefined if it is neither. */
export function parseCidr(text: string): Cidr | undefined {
  const slash = text.indexOf('/')
  const address = slash < 0 ? text : text.slice(0, slash)
  const bits = [0, 32, 128][[0, 4, 6].indexOf(isIP(address))]!
  // A scoped address ("fe80::1%eth0") means something on one machine only.
  if (bits === 0 || address.includes('%')) return undefined
  if (slash < 0) return { address, prefixLength: bits }
  const length = text.slice(slash + 1)
  if (!/^(?:0|[1-9]\d{0,2})$/.test(length) || Number(length) > bits) return undefined
  return { address, prefixLength: Number(length) }
}
