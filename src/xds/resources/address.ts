import { isIP } from 'node:net'
import type { Address, CidrRange } from '../../gen/envoy/config/core/v3/address_pb.js'
import { SocketAddress_Protocol as Protocol } from '../../gen/envoy/config/core/v3/address_pb.js'
import type { Cidr } from '../../model/match.ts'
import type { Field } from './field.ts'

/** An IP address and a TCP port, both literal: names are not resolved here (gRFC A27). */
export function socketAddress(field: Field, address: Address | undefined): { address: string; port: number } {
  const found = nameOrAddress(field, address)
  if (isIP(found.address) === 0) field.at('socket_address.address').fail(`"${found.address}" is not an IP address`)
  return found
}

const dnsName =
  /^(?=.{1,253}\.?$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/

/** As `socketAddress`; the address may also be a name that is resolved later. */
export function nameOrAddress(field: Field, address: Address | undefined): { address: string; port: number } {
  if (address?.address.case !== 'socketAddress') return field.at('socket_address').fail('is missing')
  const at = field.at('socket_address')
  const socket = address.address.value
  if (socket.protocol !== Protocol.TCP) at.at('protocol').fail('must be TCP')
  if (isIP(socket.address) === 0 && !dnsName.test(socket.address))
    at.at('address').fail(`"${socket.address}" is neither an IP address nor a host name`)
  if (socket.portSpecifier.case !== 'portValue') return at.at('port_value').fail('is missing')
  const port = socket.portSpecifier.value
  if (port < 1 || port > 65_535) at.at('port_value').fail(`must be between 1 and 65535, is ${port}`)
  return { address: socket.address, port }
}

/** An absent prefix length is 0, every address (envoy.config.core.v3.CidrRange). */
export function cidr(field: Field, range: CidrRange): Cidr {
  const version = isIP(range.addressPrefix)
  if (version === 0) field.at('address_prefix').fail(`"${range.addressPrefix}" is not an IP address`)
  const prefixLength = range.prefixLen ?? 0
  const most = version === 4 ? 32 : 128
  if (prefixLength > most) field.at('prefix_len').fail(`must be at most ${most}, is ${prefixLength}`)
  return { address: range.addressPrefix, prefixLength }
}
