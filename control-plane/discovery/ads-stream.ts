import { fromBinary } from '@bufbuild/protobuf'
import { type ServerDuplexStream, status } from '@grpc/grpc-js'
import { type DiscoveryRequest, DiscoveryRequestSchema } from '../../src/gen/envoy/service/discovery/v3/discovery_pb.js'
import type { Clock } from '../../src/model/clock.ts'
import type { Logger } from '../../src/model/logger.ts'
import type { Caller } from './caller.ts'
import { clientView } from './client-view.ts'
import { encodeResponse } from './envelope.ts'
import { type Interest, shortType } from './interest.ts'
import type { ConnectedClients } from './status.ts'
import { DiscoveryStream, type ResourceView } from './stream.ts'

/** What operators count; every callback is optional. */
export interface DiscoveryEvents {
  streamOpened?(): void
  streamClosed?(): void
  responseSent?(type: string, bytes: number): void
  nack?(type: string): void
}

export interface AdsOptions {
  readonly clients: ConnectedClients
  readonly clock: Clock
  readonly logger: Logger
  readonly events?: DiscoveryEvents
  /** Names this control plane in responses. Default "inmesh". */
  readonly controlPlane?: string
  /** A client that leaves a response unanswered for so long is cut off, ms. Default 120 s. */
  readonly answerTimeoutMs?: number
}

const MAX_NAMES = 20_000
const MAX_NAME_LENGTH = 1_024
const LONGEST_TIMER = 2 ** 31 - 1

interface Opened {
  readonly stream: DiscoveryStream
  readonly reader: ResourceView
  readonly forget: () => void
}

/** One call of StreamAggregatedResources: feeds a DiscoveryStream and writes what it decides. */
export class AdsStream {
  readonly #call: ServerDuplexStream<Buffer, Buffer>
  readonly #caller: Caller
  readonly #options: AdsOptions
  readonly #interest: Interest
  readonly #onOpen: (stream: DiscoveryStream) => void
  readonly #onFinish: (stream: DiscoveryStream | undefined) => void
  #opened: Opened | undefined
  #timer: NodeJS.Timeout | undefined
  #over = false

  /** `onFinish` is called once, however the call ends. */
  constructor(
    call: ServerDuplexStream<Buffer, Buffer>,
    caller: Caller,
    interest: Interest,
    options: AdsOptions,
    hooks: { onOpen: (stream: DiscoveryStream) => void; onFinish: (stream: DiscoveryStream | undefined) => void },
  ) {
    this.#call = call
    this.#caller = caller
    this.#interest = interest
    this.#options = options
    this.#onOpen = hooks.onOpen
    this.#onFinish = hooks.onFinish
    call.on('error', () => this.#finish())
    call.on('cancelled', () => this.#finish())
    call.on('close', () => this.#finish())
    call.on('end', () => {
      this.#finish()
      call.end()
    })
    call.on('data', (message: Buffer) => this.#onMessage(message))
  }

  /** Writes what is due now. */
  poll(): void {
    if (this.#over || this.#opened === undefined) return
    const { clock, events, controlPlane = 'inmesh', answerTimeoutMs = 120_000 } = this.#options
    const { stream } = this.#opened
    const now = clock.now()
    const { responses, wakeAt } = stream.poll(now)
    for (const response of responses) {
      const message = encodeResponse(response, controlPlane)
      this.#call.write(message)
      events?.responseSent?.(shortType(response.typeUrl), message.length)
    }
    const deadline = stream.unansweredSince + answerTimeoutMs
    if (now >= deadline) {
      this.end(status.UNAVAILABLE, 'a response was not answered in time')
      return
    }
    clearTimeout(this.#timer)
    const next = Math.min(wakeAt, deadline)
    if (next === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => this.poll(), Math.min(LONGEST_TIMER, Math.max(1, Math.ceil(next - now)))).unref()
  }

  end(code: status, details: string): void {
    if (this.#over) return
    this.#finish()
    if (code !== status.UNAVAILABLE)
      this.#options.logger.warn('discovery stream refused', { address: this.#caller.address, details })
    this.#call.emit('error', { code, details })
  }

  #finish(): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    const opened = this.#opened
    if (opened !== undefined) {
      opened.forget()
      this.#interest.release(opened.stream, opened.reader)
      this.#options.events?.streamClosed?.()
    }
    this.#onFinish(opened?.stream)
  }

  #onMessage(message: Buffer): void {
    if (this.#over) return
    const request = decode(message)
    if (typeof request === 'string') {
      this.end(status.INVALID_ARGUMENT, request)
      return
    }
    this.#opened ??= this.#open(request)
    if (this.#opened === undefined) return
    const { stream, reader } = this.#opened
    const { typeUrl, responseNonce: nonce, resourceNames: names, errorDetail } = request
    const before = new Set(stream.names(typeUrl))
    const error = errorDetail === undefined ? null : { code: errorDetail.code, message: errorDetail.message }
    try {
      const verdict = stream.onRequest(typeUrl, { nonce, names, error }, this.#options.clock.now())
      if (verdict === 'nack') this.#reportNack(shortType(typeUrl), error?.message ?? '')
    } catch (refusal) {
      this.end(status.INVALID_ARGUMENT, (refusal as Error).message)
      return
    }
    this.#interest.update(stream, reader, typeUrl, before, stream.names(typeUrl))
    this.poll()
  }

  /** The first request says who the client is; the certificate has the last word. */
  #open(request: DiscoveryRequest): Opened | undefined {
    const { node } = request
    const caller = this.#caller
    if (node === undefined) {
      this.end(status.INVALID_ARGUMENT, 'the first request of a stream must say which node sends it')
      return undefined
    }
    const result = clientView(node, caller.kind === 'mesh' ? caller.identity : null)
    if ('refused' in result) {
      this.end(status.PERMISSION_DENIED, result.refused)
      return undefined
    }
    const { clientClass, namespace, serviceAccount, service } = result.view
    const reader = this.#interest.audience(result.view)
    const stream = new DiscoveryStream(reader)
    const facts = {
      nodeId: node.id.slice(0, MAX_NAME_LENGTH),
      spiffeId: caller.kind === 'mesh' ? caller.identity.peer.spiffeId : '',
      ...{ namespace, serviceAccount, service, clientClass },
      userAgent: node.userAgentName.slice(0, MAX_NAME_LENGTH),
      address: caller.address,
      connectedAt: Date.now(),
    }
    const forget = this.#options.clients.add(facts, stream)
    this.#onOpen(stream)
    this.#options.events?.streamOpened?.()
    return { stream, reader, forget }
  }

  #reportNack(type: string, reason: string): void {
    this.#options.events?.nack?.(type)
    this.#options.logger.warn('client refused configuration', { address: this.#caller.address, type, reason })
  }
}

/** The request, or what is wrong with it. */
function decode(message: Buffer): DiscoveryRequest | string {
  let request: DiscoveryRequest
  try {
    request = fromBinary(DiscoveryRequestSchema, message)
  } catch (error) {
    return `not a DiscoveryRequest: ${(error as Error).message}`
  }
  if (request.typeUrl === '') return 'type_url is missing'
  if (request.typeUrl.length > MAX_NAME_LENGTH) return 'type_url is too long'
  if (request.resourceNames.length > MAX_NAMES) return `more than ${MAX_NAMES} resource names`
  if (request.resourceNames.some((name) => name.length > MAX_NAME_LENGTH))
    return `a resource name is longer than ${MAX_NAME_LENGTH} characters`
  return request
}
