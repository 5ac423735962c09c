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
} from '../control-plane/definition.ts'
export type { EmbeddedControlPlane } from './embedded.ts'
export {
  type ExplainedFilter,
  type ExplainedRbacPolicy,
  formatInboundExplanation,
  type InboundAsk,
  type InboundExplanation,
} from './engine/explain/explain-inbound.ts'
export type {
  ExplainedAnswer,
  ExplainedDestination,
  ExplainedEdits,
  ExplainedHost,
  ExplainedPolicy,
  ExplainedRule,
  ExplainRequest,
  Explanation,
} from './engine/explain/explanation.ts'
export { formatExplanation } from './engine/explain/format-explanation.ts'
export type {
  CallSummary,
  Classification,
  ClassifiedResponse,
  InterceptedRequest,
  Interceptor,
  LocalAnswer,
} from './engine/interceptor.ts'
export { ConfigError, type ErrorCode, ErrorCodes, formatProblem, InmeshError, type Problem } from './errors.ts'
export type { ForeignControlPlane } from './foreign.ts'
export type { MeshChannel } from './grpc/channel.ts'
export type { MeshGrpc } from './grpc/mesh-grpc.ts'
export type { MeshChannelOptions } from './grpc/options.ts'
export { grpcLoadInterceptor } from './grpc/report-load.ts'
export type { ServedGrpc } from './grpc/server/grpc-servers.ts'
export type { GrpcHealth } from './grpc/server/health.ts'
export { getGrpcPeer } from './grpc/server/peer.ts'
export { getAbortSignal } from './http/abort-signal.ts'
export type { MeshDispatcher } from './http/dispatcher.ts'
export type { MeshFetch } from './http/fetch/fetch.ts'
export { type LoadInput, reportLoad } from './http/report-load.ts'
export { type CloseMeshOptions, createMesh, type Mesh, type ServeOptions } from './mesh.ts'
export type { MeshEventMap } from './mesh-events.ts'
export { jsonLogger, type Logger, type LogLevel, silentLogger } from './model/logger.ts'
export type { Peer } from './model/peer.ts'
export type { WorkloadInfo } from './model/workload.ts'
export type { MeshOptions } from './options.ts'
export type { Recording, RecordOptions } from './record.ts'
export type { ServedServer } from './served-server.ts'
export { detach, withPriority } from './telemetry/context.ts'
export { getPeer } from './transport/peer.ts'
