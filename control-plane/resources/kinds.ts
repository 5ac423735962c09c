import type * as z from 'zod'
import type { StoredObject } from '../store/store.ts'
import { authorizationPolicy } from './authorization-policy.ts'
import { destinationRule } from './destination-rule.ts'
import { grpcRoute } from './grpc-route.ts'
import { httpRoute } from './http-route.ts'
import type { Kind } from './kind.ts'
import { meshConfig } from './mesh-config.ts'
import { parseSpec } from './parse-spec.ts'
import { peerAuthentication } from './peer-authentication.ts'
import { rateLimit } from './rate-limit.ts'
import { serviceEntry } from './service-entry.ts'
import { servicePolicy } from './service-policy.ts'
import { sidecar } from './sidecar.ts'
import { trafficSplit } from './traffic-split.ts'
import { virtualService } from './virtual-service.ts'
import { workloadEntry } from './workload-entry.ts'
import { workloadGroup } from './workload-group.ts'

export type { Kind } from './kind.ts'

const byName = {
  VirtualService: virtualService,
  DestinationRule: destinationRule,
  AuthorizationPolicy: authorizationPolicy,
  PeerAuthentication: peerAuthentication,
  ServicePolicy: servicePolicy,
  TrafficSplit: trafficSplit,
  MeshConfig: meshConfig,
  Sidecar: sidecar,
  HTTPRoute: httpRoute,
  GRPCRoute: grpcRoute,
  RateLimit: rateLimit,
  ServiceEntry: serviceEntry,
  WorkloadEntry: workloadEntry,
  WorkloadGroup: workloadGroup,
} as const

export type KindName = keyof typeof byName
export type SpecOf<Name extends KindName> = z.output<(typeof byName)[Name]['schema']>

/** As written, in code or YAML. */
export type InputOf<Name extends KindName> = z.input<(typeof byName)[Name]['schema']>

/** All kinds that the control plane accepts. */
export const kinds: readonly Kind[] = Object.values(byName) as unknown as readonly Kind[]

/** By `kind`, or by a name of the CLI ("vs", "virtualservices"), in any case. */
export function findKind(name: string): Kind | undefined {
  const wanted = name.toLowerCase()
  return kinds.find((kind) => kind.kind.toLowerCase() === wanted || kind.names.includes(wanted))
}

const parsed = new WeakMap<StoredObject, unknown>()

/**
 * The spec of a stored object, parsed, with defaults; undefined if this version of inmesh cannot read it. Kept per
 * object, so that each is parsed once.
 */
export function specOf<Name extends KindName>(object: StoredObject, kind: Name): SpecOf<Name> | undefined {
  if (!parsed.has(object)) {
    const result = parseSpec(byName[kind] as unknown as Kind, object.spec)
    parsed.set(object, result.spec)
  }
  return parsed.get(object) as SpecOf<Name> | undefined
}
