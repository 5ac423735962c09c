import type { Metadata, StatusObject } from '@grpc/grpc-js'
import type { Call } from '../engine/call.ts'
import type { MirrorReport, Shadow } from '../engine/mirror.ts'
import type { Route } from '../engine/route.ts'
import { callContext } from '../telemetry/context.ts'
import { newTraceparent } from '../telemetry/ids.ts'
import { isTraceparent, unsampled } from '../telemetry/traceparent.ts'
import type { GrpcExchange } from './exchange.ts'
import type { MetadataRecord } from './request-headers.ts'
import type { GrpcListener } from './types.ts'

/** Bytes of an answer that a shadow may have before nobody reads on. */
const READ_LIMIT = 1024 * 1024

/**
 * Sends a copy of a call to another cluster, fire and forget. Only of what is complete: a request whose messages are all
 * there when its call begins, as those of unary and server streaming methods are.
 */
export function startShadow(real: GrpcExchange, call: Call, shadow: Shadow): void {
  const { route } = shadow
  const { outbox } = real
  const messages = route !== null && outbox.closed && outbox.replayable ? outbox.copy(shadow.maxBodyBytes) : null
  if (route === null || messages === null) {
    report(call, shadow, { result: 'skipped', status: 0, differences: null })
    return
  }
  // Not now: the real request goes first.
  setImmediate(() => send(real, call, shadow, route, messages))
}

function send(real: GrpcExchange, call: Call, shadow: Shadow, route: Route, messages: readonly Buffer[]): void {
  const context = callContext.getStore()
  const given = real.header('traceparent') ?? context?.traceparent
  const traceparent = isTraceparent(given) ? unsampled(given) : newTraceparent(false)
  const run = () => {
    const copy = real.copy({ ...withoutOwn(real.metadata), traceparent }, messages)
    copy.tellTo(new ShadowSink(copy, call, shadow))
    if (!real.dispatcher.shadow(copy, route)) report(call, shadow, { result: 'refused', status: 0, differences: null })
  }
  if (context === undefined) run()
  else callContext.run({ ...context, traceparent, tracestate: '', b3: null, otel: null, hop: null }, run)
}

/** Reads the answer to a shadow and drops it. */
class ShadowSink implements GrpcListener {
  private readonly copy: GrpcExchange
  private readonly call: Call
  private readonly shadow: Shadow
  private bytes = 0

  constructor(copy: GrpcExchange, call: Call, shadow: Shadow) {
    this.copy = copy
    this.call = call
    this.shadow = shadow
  }

  onReceiveMetadata(_metadata: Metadata): void {}

  onReceiveMessage(message: Buffer): void {
    this.bytes += message.length
    if (this.bytes > READ_LIMIT) this.copy.cancelWithStatus(1, 'nobody reads the rest of the answer to a shadow')
    else this.copy.startRead()
  }

  onReceiveStatus({ code }: StatusObject): void {
    const made = this.copy.call
    const answered = made !== null && made.winner !== null && (made.rejection === null || this.bytes > READ_LIMIT)
    const result = answered ? 'answered' : made === null || made.attempts === 0 ? 'refused' : 'failed'
    const real = this.call.winner
    const compared = this.shadow.compare && answered && real?.settled === true
    const differences = compared ? (code === Math.max(real.grpcStatus, 0) ? [] : (['status'] as const)) : null
    report(this.call, this.shadow, { result, status: answered ? (made?.status ?? 0) : 0, differences })
  }
}

function report(call: Call, shadow: Shadow, seen: Pick<MirrorReport, 'result' | 'status' | 'differences'>): void {
  call.env.events?.mirrored?.({ call, cluster: shadow.cluster, ...seen })
}

/** Without what the shadow says for itself. */
function withoutOwn(metadata: MetadataRecord): MetadataRecord {
  const kept = { ...metadata } as Record<string, string | readonly string[]>
  for (const name in kept)
    if (name === 'traceparent' || name === 'tracestate' || name === 'b3' || name.startsWith('x-b3-')) delete kept[name]
  return kept
}
