import { BlockList, isIP } from 'node:net'
import { InmeshError } from '../errors.ts'
import type { Cidr } from '../model/match.ts'

/**
 * Tests addresses against a range; an IPv4-mapped IPv6 address is its IPv4 address.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for what is no range
 */
export function compileCidr(cidr: Cidr): (address: string) => boolean {
  const base = unmapped(cidr.address)
  const family = isIP(base)
  const bits = family === 4 ? 32 : 128
  // A range of IPv4-mapped addresses counts its bits from the front of the long form.
  const prefix = family === 4 && isIP(cidr.address) === 6 ? cidr.prefixLength - 96 : cidr.prefixLength
  if (family === 0 || !Number.isInteger(prefix) || prefix < 0 || prefix > bits) {
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${cidr.address}/${cidr.prefixLength} is not an address range`)
  }
  const list = new BlockList()
  list.addSubnet(base, prefix, family === 4 ? 'ipv4' : 'ipv6')
  return (address) => {
    const plain = unmapped(address)
    const own = isIP(plain)
    return own === family && list.check(plain, own === 4 ? 'ipv4' : 'ipv6')
  }
}

/** `::ffff:10.1.2.3` is what a dual-stack socket says of 10.1.2.3; `::ffff:a01:203` is the same. */
export function unmapped(address: string): string {
  if (!address.includes(':')) return address
  const mapped = /^(?:0{0,4}:){2,5}ffff:(?:([0-9.]+)|([0-9a-f]{1,4}):([0-9a-f]{1,4}))$/i.exec(address)
  if (mapped === null || isIP(address) !== 6) return address
  const [, dotted, high, low] = mapped
  if (dotted !== undefined) return dotted
  const bytes = (hex: string) => [Number.parseInt(hex, 16) >> 8, Number.parseInt(hex, 16) & 255]
  return [...bytes(high!), ...bytes(low!)].join('.')
}
