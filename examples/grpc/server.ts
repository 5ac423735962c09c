/** A service of grpc-js; `mesh.grpc.listen` is what another service would call `bindAsync` for. */
import { createMesh, getGrpcPeer } from 'inmesh'
import { Payments, type PaymentsHandlers } from './payments.ts'

const mesh = await createMesh()
const { version = '' } = mesh.workload.labels

const handlers: PaymentsHandlers = {
  charge(call, done) {
    done(null, { ...call.request, version, caller: getGrpcPeer(call)?.spiffeId ?? '' })
  },
  instalments(call) {
    const caller = getGrpcPeer(call)?.spiffeId ?? ''
    for (let left = call.request.amount; left > 0; left -= 10)
      call.write({ amount: Math.min(left, 10), version, caller })
    call.end()
  },
  async chargeAll(call, done) {
    let amount = 0
    for await (const request of call) amount += request.amount
    done(null, { amount, version, caller: getGrpcPeer(call)?.spiffeId ?? '' })
  },
  async till(call) {
    const caller = getGrpcPeer(call)?.spiffeId ?? ''
    for await (const request of call) call.write({ ...request, version, caller })
    call.end()
  },
}

const server = mesh.grpc.server()
server.addService(Payments.service, handlers)
await mesh.grpc.listen(server, '127.0.0.1:0')
await mesh.ready()
