import type { RequestView } from './exchange.ts'

/**
 * Policy in code: hooks of an app (or of a library of it) into its own calls. Every hook is optional, synchronous and
 * bounded: one that throws, answers with a promise or takes long harms nobody but, if it asks for that, its own call.
 *
 * Their place is fixed: `onRequest` after the route is known and before all other gates (faults first among them),
 * `classify` when the head of an answer came and before retries, breakers and outlier detection look at it, `onEnd` once per
 * call when everything about it is final.
 */
export interface Interceptor {
  /** For messages, metrics and explain. */
  readonly name: string
  /**
   * Which calls: authorities as dialled, without port ("payments", "payments.shop"), or full names of services
   * ("payments.shop.svc.cluster.local"). Default: all.
   */
  readonly services?: readonly string[]
  /** May change the request's headers, or answer in place of the peer. Not asked again for retries. */
  readonly onRequest?: (request: InterceptedRequest) => LocalAnswer | undefined
  /** What an answer means, where its status does not say it. `undefined` = what the status says. The last added is asked first. */
  readonly classify?: (response: ClassifiedResponse) => Classification | undefined
  /**
   * Bytes of the body that `classify` gets to see, up to 16,384; 0, the default, = none. Answers in JSON are held back until so
   * many bytes or the end of the body came; others, and coded ones (gzip), are classified without a body.
   */
  readonly bodyBytes?: number
  readonly onEnd?: (summary: CallSummary) => void
  /**
   * What becomes of a call whose `onRequest` throws: 'fail' = it is answered with 500, the default, because what gates must not
   * fail open; 'ignore' = it goes on. Other hooks are always ignored when they throw. Either way it is counted.
   */
  readonly onError?: 'ignore' | 'fail'
}

/** 'retryable': a failure that the route's retry policy may repeat, whatever it says about statuses; its other rules hold. */
export type Classification = 'success' | 'failure' | 'retryable'

export interface InterceptedRequest extends RequestView {
  /** Name of the rule that matched. */
  readonly route: string
  readonly cluster: string
  /**
   * After the edits of the route, for every try. What only a transport may say (host, content-length, x-inmesh-*...) is refused.
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  setHeader(name: string, value: string): void
  removeHeader(name: string): void
}

export interface LocalAnswer {
  readonly respond: {
    /** 200 to 599. */
    readonly status: number
    readonly headers?: Readonly<Record<string, string>>
    readonly body?: string
  }
}

export interface ClassifiedResponse {
  readonly request: RequestView
  readonly status: number
  /** Lower case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** The beginning of the body; null = it was not asked for, or cannot be had. */
  readonly bodyStart: Uint8Array | null
  /** `bodyStart` is the whole body. */
  readonly whole: boolean
}

export interface CallSummary {
  readonly method: string
  readonly authority: string
  readonly path: string
  readonly route: string
  readonly cluster: string
  /** "10.0.0.1:8080"; null = no host was tried. */
  readonly host: string | null
  /** 0 = the caller got nothing. */
  readonly status: number
  /** Envoy's response flags; "-" = none. */
  readonly flags: string
  readonly details: string
  readonly attempts: number
  readonly elapsedMs: number
}
