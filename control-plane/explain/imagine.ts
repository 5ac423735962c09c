import type { EndpointRecord } from '../store/store.ts'

/** An instance of a service that nobody runs. */
export interface ImaginedEndpoint {
  readonly labels?: Readonly<Record<string, string>>
  /** "region/zone/subzone" */
  readonly locality?: string
  /** 1 to 1,000; default 1. */
  readonly weight?: number
  /** Default HEALTHY. */
  readonly health?: EndpointRecord['health']
}

export interface ImaginedService {
  /** Its instances; a number stands for so many without labels of their own. */
  readonly endpoints: number | readonly ImaginedEndpoint[]
}

/** By "name" (namespace default) or "name.namespace". */
export type ImaginedServices = Readonly<Record<string, ImaginedService>>

/** What the registry would know; `instanceId` is "payments/0", addresses are of 10.0.0.0/8, the port is 8080. */
export function imagineEndpoints(services: ImaginedServices): EndpointRecord[] {
  return Object.entries(services).flatMap(([key, { endpoints }], s) => {
    const [service = '', namespace = 'default'] = key.split('.')
    const list = typeof endpoints === 'number' ? Array.from({ length: endpoints }, () => ({})) : endpoints
    return list.map(
      ({ labels = {}, locality = '', weight = 1, health = 'HEALTHY' }: ImaginedEndpoint, i): EndpointRecord => ({
        ...{ service, namespace, locality, weight, health, port: 8080 },
        address: `10.${s & 255}.${i >> 8}.${(i & 255) + 1}`,
        labels: { ...labels, app: service },
        spiffeId: `spiffe://cluster.local/ns/${namespace}/sa/${service}`,
        instanceId: `${key}/${i}`,
      }),
    )
  })
}
