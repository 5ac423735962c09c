import {
  type FilterChainMatch,
  FilterChainMatchSchema,
  FilterChainMatch_ConnectionSourceType as SourceType,
} from '../../gen/envoy/config/listener/v3/listener_components_pb.js'
import type { ChainMatch } from '../../model/inbound.ts'
import { cidr } from './address.ts'
import { type Field, names } from './field.ts'

const fields =
  names(`prefix_ranges source_type source_prefix_ranges transport_protocol application_protocols server_names
  destination_port source_ports direct_source_prefix_ranges`)

/**
 * The combinations of a FilterChainMatch (gRFC A36); none when it can match no connection that gRPC's servers know: by port, server name,
 * application protocol or a transport protocol.
 */
export function chainMatches(field: Field, match: FilterChainMatch | undefined): ChainMatch[] {
  if (match === undefined) return [{ destination: null, sourceType: 'ANY', source: null }]
  field.onlyReads(FilterChainMatchSchema, match, fields)
  if (match.sourcePorts.length > 0) field.at('source_ports').fail('not supported')
  if (match.directSourcePrefixRanges.length > 0) field.at('direct_source_prefix_ranges').fail('not supported')
  const never =
    match.destinationPort !== undefined ||
    match.serverNames.length > 0 ||
    match.applicationProtocols.length > 0 ||
    (match.transportProtocol !== '' && match.transportProtocol !== 'raw_buffer')
  if (never) {
    field.warn('asks for a port, names or protocols, so that it never matches (gRFC A36)')
    return []
  }
  const type = sourceTypes[match.sourceType]
  if (type === undefined) return field.at('source_type').fail(`${match.sourceType} is not a known value`)
  const destinations = orAny(field.at('prefix_ranges').map(match.prefixRanges, (range, at) => cidr(at, range)))
  const sources = orAny(field.at('source_prefix_ranges').map(match.sourcePrefixRanges, (range, at) => cidr(at, range)))
  return destinations.flatMap((destination) => sources.map((source) => ({ destination, sourceType: type, source })))
}

const sourceTypes: Readonly<Record<number, ChainMatch['sourceType']>> = {
  [SourceType.ANY]: 'ANY',
  [SourceType.SAME_IP_OR_LOOPBACK]: 'SAME_IP_OR_LOOPBACK',
  [SourceType.EXTERNAL]: 'EXTERNAL',
}

function orAny<T>(items: readonly T[]): readonly (T | null)[] {
  return items.length === 0 ? [null] : items
}
