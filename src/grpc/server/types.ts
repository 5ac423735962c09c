import type { ServerInterceptingCallInterface } from '@grpc/grpc-js'

/** Who hears what comes in on a call. */
export type ServerListener = Parameters<ServerInterceptingCallInterface['start']>[0]

/** How a call ends. */
export type ServerStatus = Parameters<ServerInterceptingCallInterface['sendStatus']>[0]
