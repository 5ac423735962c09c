/** What a simulated instance of a service does with a request. Times in ms. */
export type Behaviour = { readonly afterMs: number } & (
  | {
      readonly what: 'answer'
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly body: string
    }
  /** The connection breaks after the request was sent. */
  | { readonly what: 'reset' }
  /** Nobody listens. */
  | { readonly what: 'refuse' }
  /** Takes the request and never answers. */
  | { readonly what: 'hang' }
)

export interface For {
  /** So many requests, then it does again what it did before. Default: all from now on. */
  readonly times?: number
  /** Default 1. */
  readonly afterMs?: number
}

/** A request as the peer saw it. */
export interface SeenRequest {
  /** Virtual ms. */
  readonly at: number
  readonly method: string
  readonly authority: string
  readonly path: string
  /** Lower case names. */
  readonly headers: Readonly<Record<string, string>>
}

/** One instance of a service, played by a script. It answers 200 after 1 ms until it is told otherwise. */
export class TestPeer {
  /** "payments/0" */
  readonly name: string
  readonly address: string
  readonly port: number
  /** In order. */
  readonly requests: SeenRequest[] = []
  private usual: Behaviour = { what: 'answer', status: 200, headers: {}, body: '', afterMs: 1 }
  private readonly script: { readonly behaviour: Behaviour; left: number }[] = []

  constructor(name: string, address: string, port: number) {
    this.name = name
    this.address = address
    this.port = port
  }

  answers(status: number, options: For & { headers?: Readonly<Record<string, string>>; body?: string } = {}): this {
    return this.behaves(
      {
        what: 'answer',
        status,
        headers: options.headers ?? {},
        body: options.body ?? '',
        afterMs: options.afterMs ?? 1,
      },
      options,
    )
  }

  /** Breaks the connection once it has the request. */
  resets(options: For = {}): this {
    return this.behaves({ what: 'reset', afterMs: options.afterMs ?? 1 }, options)
  }

  /** Refuses connections. */
  refuses(options: For = {}): this {
    return this.behaves({ what: 'refuse', afterMs: options.afterMs ?? 1 }, options)
  }

  /** Never answers. */
  hangs(options: For = {}): this {
    return this.behaves({ what: 'hang', afterMs: options.afterMs ?? 1 }, options)
  }

  /** @internal What it does with the next request. */
  next(): Behaviour {
    const first = this.script[0]
    if (first === undefined) return this.usual
    if (--first.left <= 0) this.script.shift()
    return first.behaviour
  }

  private behaves(behaviour: Behaviour, { times }: For): this {
    if (times === undefined) {
      this.usual = behaviour
      this.script.length = 0
    } else if (times > 0) this.script.push({ behaviour, left: times })
    return this
  }
}
