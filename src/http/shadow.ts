import type { Dispatcher } from 'undici'
import type { Call } from '../engine/call.ts'
import type { MirrorReport, Shadow } from '../engine/mirror.ts'
import type { Route } from '../engine/route.ts'
import { callContext } from '../telemetry/context.ts'
import { newTraceparent } from '../telemetry/ids.ts'
import { isTraceparent, unsampled } from '../telemetry/traceparent.ts'
import { isMeshHeader } from '../transport/hop-headers.ts'
import { AnswerDigest, DIGEST_LIMIT } from './answer-digest.ts'
import type { HttpExchange } from './exchange.ts'
import { flatHeaders } from './headers.ts'

type Controller = Dispatcher.DispatchController
type Body = Dispatcher.DispatchOptions['body']

/**
 * Sends a copy of a request to another cluster, fire and forget: the call that it copies neither waits for it nor hears of
 * it. A streamed body is copied while the real request reads it, and sent when it is complete.
 */
export function startShadow(exchange: HttpExchange, call: Call, shadow: Shadow): void {
  const { route } = shadow
  const { body, upgrade } = exchange.options
  const skip = () => report(call, shadow, { result: 'skipped', status: 0, differences: null })
  if (route === null || upgrade) {
    skip()
    return
  }
  if (shadow.compare) exchange.digest ??= new AnswerDigest()
  const digest = shadow.compare ? exchange.digest : null
  const send = (copy: Body) => {
    // Not now: the real request goes first.
    setImmediate(() => dispatchShadow(exchange, call, shadow, route, digest, copy))
  }
  if (exchange.replay !== null) {
    exchange.replay.capture(shadow.maxBodyBytes, (copy) => {
      if (copy === null) skip()
      else send(copy)
    })
  } else if (sizeOf(body) <= shadow.maxBodyBytes) send(body)
  else skip()
}

function dispatchShadow(
  real: HttpExchange,
  call: Call,
  shadow: Shadow,
  route: Route,
  digest: AnswerDigest | null,
  body: Body,
): void {
  const { dispatcher, authority, method, path } = real
  const sink = new ShadowSink(call, shadow, digest)
  const context = callContext.getStore()
  const traceparent = unsampledOf(real.header('traceparent') ?? context?.traceparent)
  const headers = flatHeaders(real.headers).filter((_, i, all) => !isOwn(all[i - (i % 2)] as string))
  headers.push('traceparent', traceparent)
  const options = { method, path, headers, body } as Dispatcher.DispatchOptions
  const run = () => dispatcher.shadow(authority, options, sink, route)
  if (context === undefined) run()
  else callContext.run({ ...context, traceparent, tracestate: '', b3: null, otel: null, hop: null }, run)
}

/** Reads the answer to a shadow and drops it. */
class ShadowSink implements Dispatcher.DispatchHandler {
  private exchange: HttpExchange | null = null
  private readonly call: Call
  private readonly shadow: Shadow
  private readonly real: AnswerDigest | null
  private readonly own: AnswerDigest
  private status = 0
  private bytes = 0

  constructor(call: Call, shadow: Shadow, real: AnswerDigest | null) {
    this.call = call
    this.shadow = shadow
    this.real = real
    this.own = new AnswerDigest()
  }

  /** The controller of a call through the mesh is its exchange. */
  onRequestStart(controller: Controller): void {
    this.exchange = controller as HttpExchange
  }

  onResponseStart(_controller: Controller, status: number, headers: Record<string, unknown>): void {
    if (status < 200) return
    this.status = status
    if (this.real !== null) this.own.head(status, headers)
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    this.bytes += chunk.length
    if (this.real !== null) this.own.data(chunk)
    if (this.bytes > DIGEST_LIMIT) controller.abort(new Error('nobody reads the rest of the answer to a shadow'))
  }

  onResponseEnd(): void {
    this.own.complete()
    this.end()
  }

  onResponseError(): void {
    this.end()
  }

  private end(): void {
    const { real, own, status } = this
    const made = this.exchange?.call ?? null
    const attempts = made?.attempts ?? 0
    const answered = made !== null && made.rejection === null && status !== 0
    const result = answered || this.bytes > DIGEST_LIMIT ? 'answered' : attempts === 0 ? 'refused' : 'failed'
    const seen = { result, status: result === 'answered' ? status : 0 } as const
    if (real === null || result === 'refused') {
      report(this.call, this.shadow, { ...seen, differences: null })
      return
    }
    own.finish(seen.status)
    real.whenDone(() => report(this.call, this.shadow, { ...seen, differences: real.differences(own) }))
  }
}

function report(call: Call, shadow: Shadow, seen: Pick<MirrorReport, 'result' | 'status' | 'differences'>): void {
  call.env.events?.mirrored?.({ call, cluster: shadow.cluster, ...seen })
}

/** Bytes of a body that can be sent any number of times; Infinity = unknown. */
function sizeOf(body: unknown): number {
  if (body === null || body === undefined) return 0
  if (typeof body === 'string') return Buffer.byteLength(body)
  if (ArrayBuffer.isView(body) || body instanceof ArrayBuffer) return body.byteLength
  return body instanceof Blob ? body.size : Number.POSITIVE_INFINITY
}

function unsampledOf(traceparent: string | undefined): string {
  return isTraceparent(traceparent) ? unsampled(traceparent) : newTraceparent(false)
}

/** What the shadow says for itself, and what asks the mesh for something that only the real call gets. */
function isOwn(name: string): boolean {
  const lower = name.toLowerCase()
  return (
    isMeshHeader(lower) ||
    lower === 'traceparent' ||
    lower === 'tracestate' ||
    lower === 'b3' ||
    lower.startsWith('x-b3-')
  )
}
