import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { durationFromMs } from '@bufbuild/protobuf/wkt'
import { type ServerDuplexStream, type ServiceDefinition, status } from '@grpc/grpc-js'
import {
  type RegisterRequest,
  RegisterRequestSchema,
  type RegisterResponse,
  RegisterResponseSchema,
} from '../../src/gen/inmesh/v1/registry_pb.js'
import type { Clock } from '../../src/model/clock.ts'
import type { Logger } from '../../src/model/logger.ts'
import { type Caller, callerKey, type Quota } from '../discovery/caller.ts'
import type { ConnectionIdentity } from '../discovery/client-view.ts'
import type { Store } from '../store/store.ts'
import { EndpointWriter } from './endpoint-writer.ts'
import { type LeaseOptions, Leases } from './leases.ts'
import { readRegistration } from './registration.ts'

/** inmesh.v1.WorkloadRegistry. */
export const workloadRegistryService: ServiceDefinition = {
  Register: {
    path: '/inmesh.v1.WorkloadRegistry/Register',
    requestStream: true,
    responseStream: true,
    requestSerialize: (m: RegisterRequest) => Buffer.from(toBinary(RegisterRequestSchema, m)),
    requestDeserialize: (b: Buffer) => fromBinary(RegisterRequestSchema, b),
    responseSerialize: (m: RegisterResponse) => Buffer.from(toBinary(RegisterResponseSchema, m)),
    responseDeserialize: (b: Buffer) => fromBinary(RegisterResponseSchema, b),
  },
}

export interface WorkloadRegistryOptions {
  readonly store: Pick<Store, 'endpoints' | 'audit'>
  readonly clock: Clock
  readonly logger: Logger
  readonly quota: Quota
  readonly leases: LeaseOptions
  /** Domain of service names. */
  readonly domain: string
  /** An endpoint left or stopped taking calls, and that is stored. */
  readonly onUrgent: () => void
  /** Resolves when this revision is served, or cannot be for now: a workload that is told "registered" can be found. */
  readonly served: (revision: number) => Promise<void>
  /** Resolves when those who use endpoints have heard of what is served now, or will not for now. */
  readonly heard: () => Promise<void>
}

type RegisterCall = ServerDuplexStream<RegisterRequest, RegisterResponse>

const LONGEST_TIMER = 2 ** 31 - 1

/** Workloads register themselves over a stream that holds their registration. */
export class WorkloadRegistry {
  readonly #options: WorkloadRegistryOptions
  readonly #leases: Leases
  readonly #writer: EndpointWriter
  readonly #calls = new Set<RegisterCall>()
  #streams = 0
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: WorkloadRegistryOptions) {
    this.#options = options
    this.#leases = new Leases(options.leases)
    this.#writer = new EndpointWriter(options.store, options.logger, options.onUrgent)
  }

  /** Takes over the endpoints of an earlier run: they wait for their workloads. */
  async start(): Promise<void> {
    this.#leases.restore(await this.#options.store.endpoints.list(), this.#options.clock.now())
    this.#arm()
  }

  /** Endpoints by what holds them. */
  get counts(): ReturnType<Leases['count']> {
    return this.#leases.count()
  }

  /** Ends all streams without a change to what is registered: the next run, or another replica, takes over. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    for (const call of this.#calls)
      call.emit('error', { code: status.UNAVAILABLE, details: 'the control plane is shutting down' })
    await this.#writer.close()
  }

  /** Handler of Register. */
  serve(call: RegisterCall, caller: Caller): void {
    const fail = (code: status, details: string) => call.emit('error', { code, details })
    if (caller.kind !== 'mesh') {
      fail(status.UNAUTHENTICATED, 'registration needs a client certificate; ask the certificate authority first')
      return
    }
    const giveBack = this.#options.quota.take(callerKey(caller))
    if (giveBack === undefined) {
      fail(status.RESOURCE_EXHAUSTED, `too many streams of ${callerKey(caller)}`)
      return
    }
    const id = ++this.#streams
    let over = false
    /** The registration that is being stored. */
    let storing: Promise<unknown> = Promise.resolve()
    const finish = () => {
      if (over) return
      over = true
      giveBack()
      this.#calls.delete(call)
      if (this.#closed) return
      this.#leases.drop(id, this.#options.clock.now())
      this.#arm()
    }
    this.#calls.add(call)
    call.on('error', finish)
    call.on('cancelled', finish)
    call.on('close', finish)
    // A connection that breaks ends the stream as well, so the end alone is no goodbye: that is a registration of nothing.
    call.on('end', () => {
      void storing.finally(() => {
        finish()
        call.end()
      })
    })
    call.on('data', (request: RegisterRequest) => {
      if (over) return
      storing = this.#register(id, request, caller.identity).then(
        (answer) => {
          if (over) return
          if ('details' in answer) fail(answer.code, answer.details)
          else call.write(answer)
        },
        (error: unknown) => {
          this.#options.logger.error('registration failed', { error })
          if (!over) fail(status.UNAVAILABLE, 'the registration could not be stored')
        },
      )
    })
  }

  async #register(
    stream: number,
    request: RegisterRequest,
    identity: ConnectionIdentity,
  ): Promise<RegisterResponse | { code: status; details: string }> {
    const { store, domain, logger, leases } = this.#options
    const { spiffeId } = identity.peer
    const records = readRegistration(request, identity, domain)
    if ('code' in records) {
      logger.warn('registration refused', { spiffeId, reason: records.message })
      const { subject, message: detail } = records
      if (records.code === 'PERMISSION_DENIED')
        await store.audit.append({
          at: Date.now(),
          actor: spiffeId,
          verb: 'register',
          subject,
          detail,
          result: 'refused',
        })
      return { code: status[records.code], details: records.message }
    }
    const change = this.#leases.register(stream, { instanceId: request.instanceId, spiffeId }, records)
    this.#arm()
    const cursor = await this.#writer.write(change)
    const revision = /^\d+$/.test(cursor) ? Number(cursor) : 0
    await this.#options.served(revision)
    // A workload that leaves waits for this before it stops to serve.
    if (records.some((record) => record.health === 'DRAINING')) await this.#options.heard()
    return create(RegisterResponseSchema, {
      revision: BigInt(revision),
      grace: durationFromMs(leases.graceMs),
    })
  }

  #arm(): void {
    clearTimeout(this.#timer)
    const deadline = this.#leases.nextDeadline
    if (this.#closed || deadline === Number.POSITIVE_INFINITY) return
    const wait = Math.max(1, Math.ceil(deadline - this.#options.clock.now()))
    this.#timer = setTimeout(() => this.#sweep(), Math.min(wait, LONGEST_TIMER)).unref()
  }

  #sweep(): void {
    const { logger, clock } = this.#options
    const { expired, held } = this.#leases.sweep(clock.now())
    for (const service of held)
      logger.warn('many endpoints would leave at once; they are kept as suspect for a while', service)
    for (const { service, namespace, address, port } of expired)
      logger.info('endpoint left: its stream did not come back', { service, namespace, address, port })
    if (expired.length > 0) {
      this.#writer
        .write({ put: [], remove: expired })
        .catch((error: unknown) => logger.error('expired endpoints were not removed', { error }))
    }
    this.#arm()
  }
}
