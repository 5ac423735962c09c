// Serves test.Echo/WhoAreYou by grpc-js-xds's XdsServer on the port in argv[2]: the answer is who asks. Says "serving" when it
// listens. The protocol is described in ../support/foreign-server.ts.
import { ServerCredentials } from '@grpc/grpc-js'
import { register, XdsServer, XdsServerCredentials } from '@grpc/grpc-js-xds'

register()
const bytes = (value) => value
const method = {
  requestStream: false,
  responseStream: false,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
}
const answer = (call, done) => {
  const names = call.getAuthContext()?.sslPeerCertificate?.subjectaltname ?? ''
  done(null, Buffer.from(/URI:(spiffe:[^,]*)/.exec(names)?.[1] ?? 'nobody'))
}
const server = new XdsServer()
server.addService(
  { WhoAreYou: { ...method, path: '/test.Echo/WhoAreYou' }, Other: { ...method, path: '/test.Echo/Other' } },
  { WhoAreYou: answer, Other: answer },
)
const credentials = new XdsServerCredentials(ServerCredentials.createInsecure())
server.bindAsync(`127.0.0.1:${process.argv[2]}`, credentials, (error) => {
  if (error !== null) throw error
  console.log('serving')
})
