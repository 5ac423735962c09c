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
  if (family === 0 || !Number.isInteger(cidr.prefixLength) || cidr.prefixLength < 0 || cidr.prefixLength > bits) {
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${cidr.address}/${cidr.prefixLength} is not an address range`)
  }
  const list = new BlockList()
  list.addSubnet(base, cidr.prefixLength, family === 4 ? 'ipv4' : 'ipv6')
  return (address) => {
    const plain = unmapped(address)
    const own = isIP(plain)
    return own === family && list.check(plain, own === 4 ? 'ipv4' : 'ipv6')
  }
}

/** `::ffff:10.1.2.3` is what a dual-stack socket says of 10.1.2.3. */
export function unmapped(address: string): string {
  return /^::ffff:([0-9.]+)$/i.exec(address)?.[1] ?? address
}
