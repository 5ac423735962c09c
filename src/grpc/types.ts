import type { ChannelInterface, Metadata, StatusObject } from '@grpc/grpc-js'

/** A call as channels of grpc-js make it. */
export type GrpcCall = ReturnType<ChannelInterface['createCall']>

/** Who is told of its answer. */
export interface GrpcListener {
  onReceiveMetadata(metadata: Metadata): void
  onReceiveMessage(message: Buffer): void
  onReceiveStatus(status: StatusObject): void
}

/**
 * Opens a channel of the mesh for what a target names.
 * @param name what follows the scheme, e.g. "payments" or "payments:8080"
 * @param options the channel options that the app gave
 */
export type OpenChannel = (name: string, options: Readonly<Record<string, unknown>>) => ChannelInterface
