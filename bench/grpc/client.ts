/** A client process: one variant, measured when told. */
import { Client, type ClientDuplexStream, Metadata } from '@grpc/grpc-js'
import { measureWhenTold } from '../measured.ts'
import type { GrpcClientSetup } from './protocol.ts'
import { answer, request, service } from './service.ts'
import { channelOf } from './variants.ts'

const metadata = new Metadata()
metadata.set('x-tenant', 'shop-17')
metadata.set('authorization', 'Bearer 0123456789abcdef0123456789abcdef')

measureWhenTold(async (setup: GrpcClientSetup) => {
  const { channel, traced } = await channelOf(setup)
  // Credentials and address say nothing where there is a channel.
  const client = new Client('bench', null as never, { channelOverride: channel })
  const ask = setup.variant.endsWith('-stream') ? talking(client) : getting(client, traced)
  const first = await ask()
  if (first.length !== answer.length) throw new Error(`${setup.variant}: unexpected answer ${first}`)
  return ask
})

/** One call per request. @param traced the mesh writes a traceparent, so bare grpc-js has to send one too */
function getting(client: Client, traced: boolean): () => Promise<Buffer> {
  const { path, requestSerialize, responseDeserialize } = service.get
  return () => {
    const own = metadata.clone()
    if (!traced) own.set('traceparent', traceparent())
    return new Promise((resolve, reject) =>
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        own,
        { deadline: Date.now() + 5_000 },
        (error, value) => (error === null ? resolve(value!) : reject(error)),
      ),
    )
  }
}

/** One message and its answer per request, on as many streams as there are requests at one time. */
function talking(client: Client): () => Promise<Buffer> {
  const { path, requestSerialize, responseDeserialize } = service.talk
  const idle: ClientDuplexStream<Buffer, Buffer>[] = []
  return () => {
    const stream = idle.pop() ?? client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata)
    return new Promise((resolve, reject) => {
      stream.once('error', reject)
      stream.once('data', (message: Buffer) => {
        stream.off('error', reject)
        idle.push(stream)
        resolve(message)
      })
      stream.write(request)
    })
  }
}

let count = 0

/** Never the same, as that of the mesh: a header that repeats costs less in HPACK. */
function traceparent(): string {
  const id = (++count).toString(16).padStart(16, '0')
  return `00-${id}${id}-${id}-01`
}
