import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import {
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceDefinition,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js'

/** HealthCheckResponse.ServingStatus. */
const Serving = { SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const
type Serving = (typeof Serving)[keyof typeof Serving]

interface HealthRequest {
  /** '' = the server as a whole. */
  readonly service: string
}

/** grpc.health.v1.Health (https://github.com/grpc/grpc/blob/master/doc/health-checking.md); its two messages are read and written here. */
const method = {
  requestSerialize: ({ service }: HealthRequest) =>
    Buffer.from(new BinaryWriter().tag(1, WireType.LengthDelimited).string(service).finish()),
  requestDeserialize: (bytes: Buffer): HealthRequest => ({ service: readService(bytes) }),
  responseSerialize: (serving: Serving) => Buffer.of(0x08, serving),
  responseDeserialize: (bytes: Buffer) => bytes[1] as Serving,
}
const healthDefinition = {
  check: { ...method, path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false },
  watch: { ...method, path: '/grpc.health.v1.Health/Watch', requestStream: false, responseStream: true },
} satisfies ServiceDefinition

type Watch = ServerWritableStream<HealthRequest, Serving>

/**
 * The health service of a server, as gRPC defines it. The server as a whole serves from the start; services are known from
 * the first time that something is said of them. Calls that watch are ended when the last port of the server closes, so that
 * they hold up no shutdown.
 */
export class GrpcHealth {
  readonly #services = new Map<string, Serving>([['', Serving.SERVING]])
  readonly #watches = new Set<Watch>()

  /** @internal Use `mesh.grpc.addHealth`. */
  constructor(server: Server) {
    server.addService(healthDefinition, {
      check: ({ request }: ServerUnaryCall<HealthRequest, Serving>, done: sendUnaryData<Serving>) => {
        const serving = this.#services.get(request.service)
        if (serving === undefined) done({ code: status.NOT_FOUND, details: 'unknown service' })
        else done(null, serving)
      },
      watch: (call: Watch) => {
        this.#watches.add(call)
        call.once('cancelled', () => this.#watches.delete(call))
        call.write(this.#services.get(call.request.service) ?? Serving.SERVICE_UNKNOWN)
      },
    })
  }

  /** @param service full name, like "shop.Payments"; '' = the server as a whole */
  set(service: string, serving: boolean): void {
    const now = serving ? Serving.SERVING : Serving.NOT_SERVING
    if (this.#services.get(service) === now) return
    this.#services.set(service, now)
    for (const call of this.#watches) if (call.request.service === service) call.write(now)
  }

  /** @internal Tells those who watch that it is over. */
  endWatches(): void {
    for (const call of this.#watches) {
      call.write(Serving.NOT_SERVING)
      call.end()
    }
    this.#watches.clear()
  }
}

function readService(bytes: Buffer): string {
  const reader = new BinaryReader(bytes)
  let service = ''
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag()
    if (field === 1 && type === WireType.LengthDelimited) service = reader.string()
    else reader.skip(type)
  }
  return service
}
