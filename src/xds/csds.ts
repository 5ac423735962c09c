import { create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf'
import { type Any, AnySchema, type Timestamp, timestampFromMs } from '@bufbuild/protobuf/wkt'
import {
  type ClientConfig_GenericXdsConfigSchema,
  ClientStatusRequestSchema,
  type ClientStatusResponse,
  ClientStatusResponseSchema,
} from '../gen/envoy/service/status/v3/csds_pb.js'
import { nodeMessage, type XdsNode } from './node.ts'
import type { ResourceState } from './status.ts'
import type { Held } from './subscription.ts'

/** What a client of xDS has to tell about itself. */
export interface ClientStatus {
  readonly node: XdsNode
  /** ms since a time of the client's clock. */
  ageMs(time: number): number
  readonly resources: readonly { readonly typeUrl: string; readonly held: Readonly<Held> }[]
}

/** envoy.admin.v3.ClientResourceStatus; the last two are newer than the generated messages (gRFC A88). */
const statusCodes: Readonly<Record<ResourceState, number>> = {
  REQUESTED: 1,
  DOES_NOT_EXIST: 2,
  ACKED: 3,
  NACKED: 4,
  RECEIVED_ERROR: 5,
  TIMEOUT: 6,
}

/**
 * The answer of the Client Status Discovery Service (gRFC A40): each subscribed resource with its state, version, bytes as received, and
 * what was wrong with a newer one. One client serves all targets of the process, so its scope has no name (A71).
 *
 * @param wallClock ms
 */
export function clientStatusResponse(
  status: ClientStatus,
  withContents = true,
  wallClock = Date.now(),
): ClientStatusResponse {
  const at = (time: number): Timestamp | undefined => {
    const age = status.ageMs(time)
    return Number.isFinite(age) ? timestampFromMs(Math.round(wallClock - age)) : undefined
  }
  return create(ClientStatusResponseSchema, {
    config: [
      {
        node: nodeMessage(status.node),
        clientScope: '',
        genericXdsConfigs: status.resources.map(({ typeUrl, held }) => generic(typeUrl, held, at, withContents)),
      },
    ],
  })
}

function generic(
  typeUrl: string,
  held: Readonly<Held>,
  at: (time: number) => Timestamp | undefined,
  withContents: boolean,
): MessageInitShape<typeof ClientConfig_GenericXdsConfigSchema> {
  const updated = at(held.updatedAt)
  const attempted = held.refused === null ? undefined : at(held.refused.at)
  return {
    typeUrl,
    name: held.name,
    versionInfo: held.version,
    clientStatus: statusCodes[held.state],
    ...(held.bytes === null || !withContents ? {} : { xdsConfig: contents(typeUrl, held.bytes) }),
    ...(updated === undefined ? {} : { lastUpdated: updated }),
    ...(held.error === ''
      ? {}
      : {
          errorState: {
            details: held.error,
            versionInfo: held.refused?.version ?? '',
            ...(attempted === undefined ? {} : { lastUpdateAttempt: attempted }),
          },
        }),
  }
}

function contents(typeUrl: string, value: Uint8Array): Any {
  return create(AnySchema, { typeUrl, value })
}

const path = '/envoy.service.status.v3.ClientStatusDiscoveryService'

/** The service as grpc-js defines one; `StreamClientStatus` answers each request once. */
export const clientStatusService = {
  FetchClientStatus: method('FetchClientStatus', false),
  StreamClientStatus: method('StreamClientStatus', true),
}

function method(name: string, streams: boolean) {
  return {
    path: `${path}/${name}`,
    requestStream: streams,
    responseStream: streams,
    requestSerialize: (request: MessageInitShape<typeof ClientStatusRequestSchema>) =>
      Buffer.from(toBinary(ClientStatusRequestSchema, create(ClientStatusRequestSchema, request))),
    requestDeserialize: (bytes: Buffer) => fromBinary(ClientStatusRequestSchema, bytes),
    responseSerialize: (response: ClientStatusResponse) => Buffer.from(toBinary(ClientStatusResponseSchema, response)),
    responseDeserialize: (bytes: Buffer) => fromBinary(ClientStatusResponseSchema, bytes),
  }
}
