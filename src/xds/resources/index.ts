import { clusterType } from './cluster.ts'
import { endpointsType } from './endpoints.ts'
import { listenerType } from './listener.ts'
import type { ResourceType } from './resource-type.ts'
import { routeType } from './route.ts'
import { secretType } from './secret.ts'

/** All types this client asks for, in the order in which they depend on each other. */
export const resourceTypes = [listenerType, routeType, clusterType, endpointsType, secretType] as const

const byUrl: ReadonlyMap<string, ResourceType<unknown>> = new Map(resourceTypes.map((t) => [t.typeUrl, t]))

export function resourceTypeOf(typeUrl: string): ResourceType<unknown> | undefined {
  return byUrl.get(typeUrl)
}

/** "Listener" and so on: how messages call a type. */
export function labelOf(typeUrl: string): string {
  return byUrl.get(typeUrl)?.label ?? typeUrl
}
