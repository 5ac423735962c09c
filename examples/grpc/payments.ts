/** What `shop.proto` says, for the compiler; protoc and ts-proto would generate it. */
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

export interface ChargeRequest {
  amount: number
}

export interface Receipt {
  amount: number
  version: string
  caller: string
}

export interface PaymentsHandlers extends grpc.UntypedServiceImplementation {
  charge: grpc.handleUnaryCall<ChargeRequest, Receipt>
  instalments: grpc.handleServerStreamingCall<ChargeRequest, Receipt>
  chargeAll: grpc.handleClientStreamingCall<ChargeRequest, Receipt>
  till: grpc.handleBidiStreamingCall<ChargeRequest, Receipt>
}

type Done = grpc.requestCallback<Receipt>

export interface Payments extends grpc.Client {
  charge(request: ChargeRequest, done: Done): grpc.ClientUnaryCall
  instalments(request: ChargeRequest): grpc.ClientReadableStream<Receipt>
  chargeAll(done: Done): grpc.ClientWritableStream<ChargeRequest>
  till(): grpc.ClientDuplexStream<ChargeRequest, Receipt>
}

interface PaymentsConstructor {
  new (address: string, credentials: grpc.ChannelCredentials, options?: Partial<grpc.ClientOptions>): Payments
  readonly service: grpc.ServiceDefinition<PaymentsHandlers>
}

const definition = grpc.loadPackageDefinition(loadSync(join(import.meta.dirname, 'shop.proto')))

export const { Payments } = definition.shop as unknown as { Payments: PaymentsConstructor }
