/** What the processes of the gRPC benchmark say to each other. */
import type { Credentials } from '../protocol.ts'

/**
 * The ways to make the same call. `bare` is grpc-js with round robin over three endpoints, sending the headers that the mesh
 * sends too; `control` is `bare` again. `mesh` has every feature configured on the route, `mesh-off` none. `grpc-js-xds` is
 * another implementation, with the features of `mesh` that it knows, from the same control plane.
 * `*-stream` are messages to and fro on streams that stay open.
 */
export const variants = [
  'bare',
  'control',
  'mesh',
  'mesh-off',
  'grpc-js-xds',
  'bare-mtls',
  'mesh-mtls',
  'bare-stream',
  'mesh-stream',
] as const
export type GrpcVariant = (typeof variants)[number]

/** Against which variant each is measured. */
export const baseOf: Readonly<Record<GrpcVariant, GrpcVariant>> = {
  bare: 'bare',
  control: 'bare',
  mesh: 'bare',
  'mesh-off': 'bare',
  'grpc-js-xds': 'bare',
  'bare-mtls': 'bare-mtls',
  'mesh-mtls': 'bare-mtls',
  'bare-stream': 'bare-stream',
  'mesh-stream': 'bare-stream',
}

export interface GrpcServerPorts {
  readonly plain: number
  readonly secure: number
}

export interface GrpcClientSetup {
  readonly variant: GrpcVariant
  readonly ports: GrpcServerPorts
  readonly credentials: Credentials
  /** SPIFFE id of the server. */
  readonly serverId: string
  readonly trustDomain: string
  /** Of the control plane that grpc-js-xds follows. */
  readonly xdsPort: number
}
