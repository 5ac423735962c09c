import { create, type DescMessage, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf'
import { type Any, AnySchema } from '@bufbuild/protobuf/wkt'
import {
  ClusterSchema,
  Cluster_DiscoveryType as DiscoveryType,
} from '../../src/gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterLoadAssignmentSchema } from '../../src/gen/envoy/config/endpoint/v3/endpoint_pb.js'
import { ListenerSchema } from '../../src/gen/envoy/config/listener/v3/listener_pb.js'
import { RouteConfigurationSchema } from '../../src/gen/envoy/config/route/v3/route_pb.js'
import { RouterSchema } from '../../src/gen/envoy/extensions/filters/http/router/v3/router_pb.js'
import { HttpConnectionManagerSchema } from '../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js'

/** Resources for tests, valid unless the test breaks them. */

/** Fields of a message, without its `$typeName`, so that they can be spread. */
export type Init<D extends DescMessage> = Exclude<MessageInitShape<D>, MessageShape<D>>

export function bytesOf<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Uint8Array {
  return toBinary(schema, create(schema, init))
}

export function anyOf<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Any {
  return create(AnySchema, { typeUrl: `type.googleapis.com/${schema.typeName}`, value: bytesOf(schema, init) })
}

export const ads = { configSourceSpecifier: { case: 'ads', value: {} } } as const

export const routerFilter: NonNullable<Init<typeof HttpConnectionManagerSchema>['httpFilters']>[number] = {
  name: 'envoy.filters.http.router',
  configType: { case: 'typedConfig', value: anyOf(RouterSchema, {}) },
}

/** A client's listener whose routes come by RDS. */
export function listenerInit(name: string, routeName: string): Init<typeof ListenerSchema> {
  return {
    name,
    apiListener: {
      apiListener: anyOf(HttpConnectionManagerSchema, {
        routeSpecifier: { case: 'rds', value: { routeConfigName: routeName, configSource: ads } },
        httpFilters: [routerFilter],
      }),
    },
  }
}

export function listener(name: string, routeName: string): Any {
  return anyOf(ListenerSchema, listenerInit(name, routeName))
}

/** Everything to one cluster, or split by weights. */
export function routeInit(
  name: string,
  clusters: Readonly<Record<string, number>>,
): Init<typeof RouteConfigurationSchema> {
  return {
    name,
    virtualHosts: [
      {
        name: 'all',
        domains: ['*'],
        routes: [
          {
            match: { pathSpecifier: { case: 'prefix', value: '/' } },
            action: {
              case: 'route',
              value: {
                clusterSpecifier: {
                  case: 'weightedClusters',
                  value: { clusters: Object.entries(clusters).map(([cluster, weight]) => ({ name: cluster, weight })) },
                },
              },
            },
          },
        ],
      },
    ],
  }
}

export function route(name: string, ...clusters: string[]): Any {
  return anyOf(RouteConfigurationSchema, routeInit(name, Object.fromEntries(clusters.map((c) => [c, 1]))))
}

export function clusterInit(name: string, edsName = name): Init<typeof ClusterSchema> {
  return {
    name,
    clusterDiscoveryType: { case: 'type', value: DiscoveryType.EDS },
    edsClusterConfig: { edsConfig: ads, serviceName: edsName },
    connectTimeout: { seconds: 1n },
  }
}

export function cluster(name: string, edsName?: string): Any {
  return anyOf(ClusterSchema, clusterInit(name, edsName))
}

/** @param addresses like "10.0.0.1:80" */
export function endpointsInit(name: string, ...addresses: string[]): Init<typeof ClusterLoadAssignmentSchema> {
  return {
    clusterName: name,
    endpoints: [
      {
        locality: { region: 'r1', zone: 'z1' },
        loadBalancingWeight: Math.max(1, addresses.length),
        lbEndpoints: addresses.map(lbEndpoint),
      },
    ],
  }
}

export function lbEndpoint(text: string) {
  const [address = '', port = ''] = text.split(':')
  return {
    hostIdentifier: {
      case: 'endpoint',
      value: {
        address: {
          address: {
            case: 'socketAddress',
            value: { address, portSpecifier: { case: 'portValue', value: Number(port) } },
          },
        },
      },
    },
    loadBalancingWeight: 1,
  } as const
}

export function endpoints(name: string, ...addresses: string[]): Any {
  return anyOf(ClusterLoadAssignmentSchema, endpointsInit(name, ...addresses))
}
