/** The control plane as a library: what `inmesh control-plane` runs, and the functions that write its tables. */

export type { CreatedToken, TokenRequest } from './api/context.ts'
export type { ApplyOptions, ApplyOutcome } from './apply.ts'
export { type IssueCertificateOptions, type IssuedCertificate, issueCertificate } from './ca/issue-certificate.ts'
export {
  authorizationPolicy,
  defineMesh,
  destinationRule,
  grpcRoute,
  httpRoute,
  type MeshDefinition,
  meshConfig,
  peerAuthentication,
  type ResourceInput,
  rateLimit,
  serviceEntry,
  servicePolicy,
  sidecar,
  trafficSplit,
  virtualService,
  workloadEntry,
  workloadGroup,
} from './definition.ts'
export type { ClientStatus, ClientTypeStatus } from './discovery/status.ts'
export type { ControlPlaneOptions } from './options.ts'
export { applyPolicy, computeTrafficSplit, type ServicePolicyRow } from './resources/index.ts'
export { type ControlPlane, startControlPlane } from './start.ts'
export type { Store } from './store/store.ts'
