import { create, toBinary } from '@bufbuild/protobuf'
import { InmeshError } from '../errors.ts'
import { Health, Protocol, RegisterRequestSchema } from '../gen/inmesh/v1/registry_pb.js'
import type { Clock, Random } from '../model/clock.ts'
import type { Logger } from '../model/logger.ts'
import type { Stream, Transport } from '../model/transport.ts'
import {
  type RegisterAction,
  type RegisterEvent,
  type RegisteredEndpoint,
  RegisterState,
  type Registration,
} from './register-state.ts'

export type { RegisteredEndpoint } from './register-state.ts'

export interface RegistryClientOptions {
  /** Unique to this process, stable over reconnects. */
  readonly instanceId: string
  readonly transport: Transport
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

const METHOD = '/inmesh.v1.WorkloadRegistry/Register'

interface Waiter {
  resolve(): void
  reject(error: unknown): void
}

/**
 * Keeps this process registered: the registration lives as long as the stream, so the stream is kept open, and opened
 * again with back-off when it breaks. The state machine is RegisterState; this is its I/O.
 */
export class RegistryClient {
  readonly #options: RegistryClientOptions
  readonly #state: RegisterState
  #stream: Stream | null = null
  #timer: NodeJS.Timeout | undefined
  #waiting: Waiter[] = []
  #leaving: (() => void) | null = null
  #closed = false

  constructor(options: RegistryClientOptions) {
    this.#options = options
    this.#state = new RegisterState(options.random)
  }

  /** Why the last stream ended; empty = it did not, or all is well again. */
  get lastError(): string {
    return this.#state.lastError
  }

  /** Registers these endpoints in place of those before; the first call opens the stream. */
  update(endpoints: readonly RegisteredEndpoint[]): void {
    this.#step({ kind: 'update', endpoints })
  }

  /**
   * Settles when the control plane has stored what was last said. Rejects with ERR_INMESH_CLOSED when `close` comes
   * first.
   */
  registered(): Promise<void> {
    if (this.#state.settled) return Promise.resolve()
    if (this.#closed) return Promise.reject(closed())
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject })
    })
  }

  /**
   * Says HEALTH_DRAINING of all endpoints: clients send no new calls. Settles when it is stored, or after `timeoutMs`
   * (5 s), because a shutdown must not hang on a control plane that is away.
   */
  async drain(timeoutMs = 5_000): Promise<void> {
    if (this.#closed) return
    this.#step({ kind: 'drain' })
    await within(timeoutMs, this.registered())
  }

  /** A new stream with the transport's credentials of now, without back-off. */
  reconnect(): void {
    this.#step({ kind: 'reconnect' })
  }

  /** Says goodbye, so that the endpoints leave at once, and waits for the server's end, at most `timeoutMs` (2 s). */
  async close(timeoutMs = 2_000): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const waiter of this.#waiting.splice(0)) waiter.reject(closed())
    const gone = new Promise<void>((resolve) => {
      this.#leaving = resolve
    })
    this.#step({ kind: 'goodbye' })
    await within(timeoutMs, gone)
    this.#step({ kind: 'close' })
    clearTimeout(this.#timer)
  }

  #step(event: RegisterEvent): void {
    for (const action of this.#state.step(event, this.#options.clock.now())) this.#act(action)
    this.#arm()
  }

  #act(action: RegisterAction): void {
    switch (action.kind) {
      case 'connect':
        this.#connect()
        return
      case 'send':
        this.#stream?.send(encode(this.#options.instanceId, action.registration))
        return
      case 'settled':
        for (const waiter of this.#waiting.splice(0)) waiter.resolve()
        return
      case 'lost': {
        const { reason, retryInMs } = action
        this.#options.logger.warn('the registration stream ended', { reason, retryInMs: Math.round(retryInMs) })
        return
      }
      case 'halfClose':
        this.#stream?.halfClose()
        return
      case 'cancel':
        this.#stream?.cancel()
        this.#stream = null
        return
      case 'gone':
        this.#leaving?.()
        return
    }
  }

  #connect(): void {
    // A stream that is replaced by the same instance is no goodbye: the server keeps the endpoints.
    this.#stream?.cancel()
    const stream = this.#options.transport.open(METHOD, {
      message: () => {
        if (stream !== this.#stream) return
        this.#step({ kind: 'confirmed' })
        stream.read()
      },
      ended: (end) => {
        if (stream !== this.#stream) return
        this.#stream = null
        this.#step({ kind: 'ended', end })
      },
    })
    this.#stream = stream
    stream.read()
  }

  #arm(): void {
    clearTimeout(this.#timer)
    const { deadline } = this.#state
    if (deadline === Number.POSITIVE_INFINITY) return
    const delay = Math.max(0, Math.ceil(deadline - this.#options.clock.now()))
    this.#timer = setTimeout(() => this.#step({ kind: 'tick' }), delay)
  }
}

function encode(instanceId: string, { endpoints, draining }: Registration): Uint8Array {
  const health = draining ? Health.DRAINING : Health.HEALTHY
  return toBinary(
    RegisterRequestSchema,
    create(RegisterRequestSchema, {
      instanceId,
      endpoints: endpoints.map(({ protocol, ...e }) => ({
        ...e,
        labels: { ...e.labels },
        health,
        protocol: protocol === 'grpc' ? Protocol.GRPC : Protocol.HTTP,
      })),
    }),
  )
}

function closed(): InmeshError {
  return new InmeshError('ERR_INMESH_CLOSED', 'the registration was closed before the control plane confirmed it')
}

/** Waits for `done`, at most `ms`; whether it failed is of no interest to a shutdown. */
async function within(ms: number, done: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms)
  })
  await Promise.race([done.catch(() => undefined), late])
  clearTimeout(timer)
}
