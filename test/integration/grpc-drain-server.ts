// One replica of test/integration/grpc-server.test.ts: a process of its own.
import { createMesh } from '../../src/index.ts'
import { type EchoHandlers, echo, echoService } from '../support/grpc-echo.ts'

const mesh = await createMesh()
const server = mesh.grpc.server()
const handlers: EchoHandlers = {
  ...echo,
  unary: (call, done) => {
    process.stdout.write(`did ${call.request}\n`)
    setTimeout(() => done(null, call.request), 20)
  },
}
server.addService(echoService, handlers)
await mesh.grpc.listen(server, '127.0.0.1:0')
await mesh.ready()
process.stdout.write('ready\n')
