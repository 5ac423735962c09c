import { beforeEach, describe, expect, it } from 'vitest'
import { AdsHarness } from '../../test/support/ads-harness.ts'
import { anyOf, cluster, endpoints, listener, route } from '../../test/support/xds-resources.ts'
import { ClusterSchema, Cluster_DiscoveryType as DiscoveryType } from '../gen/envoy/config/cluster/v3/cluster_pb.js'
import { ClusterConfigSchema as AggregateSchema } from '../gen/envoy/extensions/clusters/aggregate/v3/cluster_pb.js'
import { TypeUrl } from './proto.ts'
import { WatchGraph } from './watch.ts'

const aggregate = (name: string, ...clusters: string[]) =>
  anyOf(ClusterSchema, {
    name,
    clusterDiscoveryType: {
      case: 'clusterType',
      value: { name: 'envoy.clusters.aggregate', typedConfig: anyOf(AggregateSchema, { clusters }) },
    },
  })

const dns = (name: string, address: string) =>
  anyOf(ClusterSchema, {
    name,
    clusterDiscoveryType: { case: 'type', value: DiscoveryType.LOGICAL_DNS },
    loadAssignment: {
      endpoints: [
        {
          lbEndpoints: [
            {
              hostIdentifier: {
                case: 'endpoint',
                value: {
                  address: {
                    address: {
                      case: 'socketAddress',
                      value: { address, portSpecifier: { case: 'portValue', value: 80 } },
                    },
                  },
                },
              },
            },
          ],
        },
      ],
    },
  })

let ads: AdsHarness
let graph: WatchGraph

function settle(): void {
  for (;;) {
    const { subscribe, unsubscribe, snapshot } = graph.evaluate()
    for (const ref of subscribe) ads.step({ kind: 'subscribe', ...ref })
    for (const ref of unsubscribe) ads.step({ kind: 'unsubscribe', ...ref })
    if (subscribe.length === 0 && snapshot === null) break
  }
  ads.step({ kind: 'flush' })
}

function respond(...args: Parameters<AdsHarness['respond']>): void {
  ads.respond(...args)
  settle()
}

/** "address@priority" of the aggregate's endpoints; undefined = it is not complete. */
const hosts = () => graph.snapshot.clusters.get('all')?.endpoints.map((e) => `${e.address}@${e.priority}`)

beforeEach(() => {
  ads = new AdsHarness()
  ads.step({ kind: 'start' })
  graph = new WatchGraph(ads.state, () => undefined)
  graph.watchAuthority('echo')
  settle()
  respond(TypeUrl.listener, '1', [listener('echo', 'r')])
  respond(TypeUrl.route, '1', [route('r', 'all')])
})

describe('an aggregate cluster (A37)', () => {
  it('has the priorities of its leaves one after the other, and waits for all of them', () => {
    const all = [aggregate('all', 'a', 'inner'), aggregate('inner', 'a', 'b'), cluster('a'), dns('b', 'backup.example')]
    // Each brings names of which nobody knew before.
    for (const version of ['1', '2', '3']) respond(TypeUrl.cluster, version, all)
    expect(hosts()).toBeUndefined()
    respond(TypeUrl.endpoints, '1', [endpoints('a', '10.0.0.1:80', '10.0.0.2:80')])
    expect(hosts()).toEqual(['10.0.0.1@0', '10.0.0.2@0', 'backup.example@1'])
    expect(graph.snapshot.clusters.size).toBe(1)
    respond(TypeUrl.endpoints, '2', [endpoints('a', '10.0.0.3:80')])
    expect(hosts()).toEqual(['10.0.0.3@0', 'backup.example@1'])
  })

  it('passes over leaves that do not exist', () => {
    respond(TypeUrl.cluster, '1', [aggregate('all', 'gone', 'a'), cluster('a')])
    respond(TypeUrl.cluster, '2', [aggregate('all', 'gone', 'a'), cluster('a')])
    respond(TypeUrl.endpoints, '1', [endpoints('a', '10.0.0.1:80')])
    ads.wait(15_000)
    settle()
    expect(hosts()).toEqual(['10.0.0.1@0'])
  })

  it('of itself has no endpoints, and ends', () => {
    respond(TypeUrl.cluster, '1', [aggregate('all', 'all')])
    expect(hosts()).toEqual([])
  })

  it('keeps its old version until the new one is complete', () => {
    respond(TypeUrl.cluster, '1', [aggregate('all', 'a')])
    respond(TypeUrl.cluster, '2', [aggregate('all', 'a'), cluster('a')])
    respond(TypeUrl.endpoints, '1', [endpoints('a', '10.0.0.1:80')])
    respond(TypeUrl.cluster, '3', [aggregate('all', 'b'), cluster('a')])
    expect(hosts()).toEqual(['10.0.0.1@0'])
    respond(TypeUrl.cluster, '4', [aggregate('all', 'b'), cluster('a'), cluster('b')])
    respond(TypeUrl.endpoints, '2', [endpoints('b', '10.0.0.9:80')])
    expect(hosts()).toEqual(['10.0.0.9@0'])
  })
})
