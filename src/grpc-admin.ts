import {
  getChannelzHandlers,
  getChannelzServiceDefinition,
  type Server,
  type ServerDuplexStream,
  type ServerUnaryCall,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'
import type { ClientStatusRequest, ClientStatusResponse } from './gen/envoy/service/status/v3/csds_pb.js'
import type { XdsClient } from './xds/client.ts'
import { clientStatusResponse, clientStatusService } from './xds/csds.ts'

/**
 * Adds gRPC's admin services (gRFC A38) to a server of grpc-js: channelz, and CSDS with what this client of xDS holds. They tell
 * everything about the process to whoever may call them, so the server should listen on loopback, or be protected.
 */
export function addAdminServices(server: Server, xds: XdsClient): void {
  const answer = ({ nodeMatchers, excludeResourceContents }: ClientStatusRequest): ClientStatusResponse | null =>
    nodeMatchers.length > 0 ? null : clientStatusResponse(xds.clientStatus(), !excludeResourceContents)
  // Such a request means the control plane's own CSDS.
  const refusal = { code: status.INVALID_ARGUMENT, details: 'node_matchers are not supported' }
  server.addService(clientStatusService, {
    FetchClientStatus: (
      call: ServerUnaryCall<ClientStatusRequest, ClientStatusResponse>,
      done: sendUnaryData<ClientStatusResponse>,
    ) => {
      const response = answer(call.request)
      if (response === null) done(refusal)
      else done(null, response)
    },
    StreamClientStatus: (call: ServerDuplexStream<ClientStatusRequest, ClientStatusResponse>) => {
      call.on('data', (request: ClientStatusRequest) => {
        const response = answer(request)
        if (response === null) call.destroy(Object.assign(new Error(refusal.details), refusal))
        else call.write(response)
      })
      call.on('end', () => call.end())
    },
  })
  server.addService(getChannelzServiceDefinition(), getChannelzHandlers())
}
