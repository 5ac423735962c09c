import type { JsonObject, MessageInitShape } from '@bufbuild/protobuf'
import type { NodeSchema } from '../gen/envoy/config/core/v3/base_pb.js'
import type { WorkloadInfo } from '../model/workload.ts'

export type { JsonObject }

/** Who we are to the control plane (envoy.config.core.v3.Node); the server trusts the certificate, not this. */
export interface XdsNode {
  readonly id: string
  readonly cluster: string
  /** "region/zone/subzone", parts may be missing. */
  readonly locality: string
  readonly metadata: JsonObject
  /** Version of inmesh. */
  readonly version: string
  /**
   * By what name it goes, from which control planes tell in which form configuration is wanted. Default "inmesh": the one of
   * inmesh's own control plane.
   */
  readonly userAgent?: string
}

/** Istio's form of the id, `sidecar~IP~NAME.NS~NS.svc.DOMAIN`, so that istiod answers as well. */
export function workloadNode(workload: WorkloadInfo, version: string, address = '127.0.0.1'): XdsNode {
  const { service, namespace, serviceAccount, labels, locality, instanceId } = workload
  return {
    id: `sidecar~${address}~${instanceId}.${namespace}~${namespace}.svc.cluster.local`,
    cluster: `${service}.${namespace}`,
    locality,
    metadata: {
      NAMESPACE: namespace,
      SERVICE_ACCOUNT: serviceAccount,
      SERVICE: service,
      LABELS: { ...labels },
      INSTANCE_ID: instanceId,
    },
    version,
  }
}

/** The message of the first request of a stream. */
export function nodeMessage(node: XdsNode): MessageInitShape<typeof NodeSchema> {
  const [region = '', zone = '', ...subZone] = node.locality.split('/')
  return {
    id: node.id,
    cluster: node.cluster,
    locality: { region, zone, subZone: subZone.join('/') },
    metadata: { ...node.metadata },
    userAgentName: node.userAgent ?? 'inmesh',
    userAgentVersionType: { case: 'userAgentVersion', value: node.version },
    // gRFC A27; and resources wrapped in envoy.service.discovery.v3.Resource are understood.
    clientFeatures: ['envoy.lb.does_not_support_overprovisioning', 'xds.config.resource-in-sotw'],
  }
}
