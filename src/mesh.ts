import type { RequestListener, Server } from 'node:http'
import type { Writable } from 'node:stream'
import { Agent } from 'undici'
import { ControlPlaneLink } from './control-plane-link.ts'
import { DnsClusters } from './dns/dns-clusters.ts'
import { lookup } from './dns/lookup.ts'
import { type EmbeddedMember, embeddedSource, joinEmbedded } from './embedded.ts'
import { Engine } from './engine/engine.ts'
import { explain } from './engine/explain/explain.ts'
import { explainInbound, type InboundAsk, type InboundExplanation } from './engine/explain/explain-inbound.ts'
import type { ExplainRequest, Explanation } from './engine/explain/explanation.ts'
import type { Interceptor } from './engine/interceptor.ts'
import { systemRandom } from './engine/random.ts'
import { InmeshError } from './errors.ts'
import { ForeignLink } from './foreign-link.ts'
import { MeshGrpc } from './grpc/mesh-grpc.ts'
import { addAdminServices } from './grpc-admin.ts'
import { MeshDispatcher } from './http/dispatcher.ts'
import { type MeshFetch, meshFetch } from './http/fetch/fetch.ts'
import { createMeshServer, type MeshServer, type MeshServerOptions, wrapServer } from './http/server.ts'
import { type MeshEventMap, MeshEvents } from './mesh-events.ts'
import type { MeshLink } from './mesh-link.ts'
import { systemClock } from './model/clock.ts'
import type { Snapshot } from './model/snapshot.ts'
import type { WorkloadInfo } from './model/workload.ts'
import { type MeshOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import { Recorder, type Recording, type RecordOptions } from './record.ts'
import { ServedPort, ServedServer, type ServerHost } from './served-server.ts'
import { closeOnSignals } from './signals.ts'
import { type AdminServer, startAdminServer } from './telemetry/admin-server.ts'
import { type RunningSdk, startSdk } from './telemetry/start-sdk.ts'
import { createTelemetry, type Telemetry } from './telemetry/telemetry.ts'
import { version } from './version.ts'

export interface CloseMeshOptions {
  /**
   * ms for which servers go on, with `connection: close` on their answers, after the control plane has told all callers that
   * they leave. Default 1,000 with servers, else 0.
   */
  drainMs?: number
  /** ms that requests under way get. Default 30,000. */
  graceMs?: number
}

/** How a server of the mesh serves. */
export type ServeOptions = Pick<MeshServerOptions, 'http2' | 'reportLoad' | 'showTls'>

/**
 * The mesh inside this process: what it dials and what it serves. Made by `createMesh`.
 *
 *     const mesh = await createMesh({ service: 'orders' })
 *     await mesh.fetch('http://payments/charge', { method: 'POST', body })
 *     await mesh.createServer((req, res) => res.end('hello')).listen(8080)
 */
export class Mesh {
  readonly workload: WorkloadInfo
  /** For undici's `request`, `stream`, `pipeline`, `fetch` and for Node's own `fetch(url, { dispatcher })`. */
  readonly dispatcher: MeshDispatcher
  /** WHATWG fetch through the mesh. What the mesh refuses resolves with 503, 504 or the like, as behind a proxy. */
  readonly fetch: MeshFetch
  readonly #options: ResolvedOptions
  readonly #link: MeshLink
  readonly #engine: Engine
  readonly #telemetry: Telemetry
  readonly #dns: DnsClusters
  readonly #passthrough = new Agent()
  readonly #events = new MeshEvents()
  /** The part in a control plane of this process; null = it is elsewhere. */
  readonly #embedded: EmbeddedMember | null
  readonly #servers = new Set<ServedPort>()
  readonly #registered = new Set<ServedPort>()
  #grpc: MeshGrpc | null = null
  #nacks = 0
  #admin: AdminServer | null = null
  #sdk: RunningSdk | null = null
  #failed: Error | null = null
  #closed: Promise<void> | null = null
  #closing = false
  #forgetSignals: (() => void) | null = null
  #recheck: (() => void) | null = null

  /** @internal Use `createMesh`. */
  constructor(options: ResolvedOptions, embedded: EmbeddedMember | null = null) {
    this.#options = options
    this.#embedded = embedded
    embedded?.onProblem((problem) => this.#events.emit('problem', problem))
    this.workload = options.workload
    this.#telemetry = createTelemetry({
      workload: options.workload,
      clock: systemClock,
      logger: options.logger,
      sources: {
        clusters: () => this.#clusterGauges(),
        configAgeSeconds: () => this.#link.xds.status().lastUpdateAgeMs / 1000,
        certificateExpirySeconds: () => ((this.#link.identity.current?.notAfter ?? 0) - Date.now()) / 1000,
        xdsNacks: () => this.#nacks,
        coalesced: () => this.dispatcher.coalescer.shared,
        hooks: () => this.#engine.hooks.counters,
      },
    })
    this.#engine = new Engine({
      clock: systemClock,
      random: systemRandom,
      events: this.#telemetry.events,
      locality: options.workload.locality,
    })
    this.#engine.hooks.trouble = ({ interceptor, hook, error, elapsedMs }) => {
      const what = error === null ? 'a hook took long; it holds up everything' : 'a hook failed; its errors are counted'
      options.logger.warn(what, { interceptor, hook, ...(error === null ? { elapsedMs } : { error: String(error) }) })
    }
    this.#dns = new DnsClusters({
      lookup,
      clock: systemClock,
      schedule: (ms, then) => {
        const timer = setTimeout(then, ms).unref()
        return () => clearTimeout(timer)
      },
      publish: (snapshot) => {
        this.#engine.apply(snapshot)
        this.#recheck?.()
      },
    })
    const onSnapshot = (snapshot: Snapshot) => this.#dns.update(snapshot)
    this.#link =
      options.foreign === null
        ? new ControlPlaneLink(options, this.#events, onSnapshot)
        : new ForeignLink(options, options.foreign, this.#events, onSnapshot)
    this.dispatcher = new MeshDispatcher({
      engine: this.#engine,
      clock: systemClock,
      identity: this.#link.identity,
      want: (authority) => this.#link.xds.watchAuthority(authority),
      passthrough: this.#passthrough,
      propagateDeadlines: options.propagateDeadlines,
      dialAbsent: options.dialAbsent,
    })
    this.#link.xds.reportLoads(this.#engine)
    this.fetch = meshFetch(this.dispatcher)
    this.#events.on('nack', ({ typeUrl, errors }) => {
      this.#nacks += errors.length
      options.logger.warn('configuration refused; the last good one stays in force', { typeUrl, errors })
    })
    this.#events.on('warning', ({ name, message }) => options.logger.warn(message, { resource: name }))
    this.#events.on('certificate', () => this.#recheck?.())
    this.#events.on('connected', () => this.#recheck?.())
  }

  /** @internal Everything that takes time; `createMesh` waits for what is local only. */
  async start(): Promise<void> {
    const { adminPort, handleSignals, logger, preload } = this.#options
    this.#sdk = await startSdk({ workload: this.workload, logger })
    if (adminPort !== null) {
      this.#admin = await startAdminServer(adminPort, {
        waitingFor: () => this.#waitingFor(),
        metrics: () => this.#telemetry.scrape(),
        configDump: () => this.status(),
        explain: (request) => this.explain(request),
      })
    }
    if (handleSignals) this.#forgetSignals = closeOnSignals(this)
    for (const name of preload) this.#link.xds.watchAuthority(name)
    this.#link.start().then(
      () => {
        if (this.#servers.size > 0) this.#register()
      },
      (error: Error) => {
        if (this.#closed !== null) return
        this.#failed = error
        logger.error('this process cannot join the mesh', { error: error.message })
        this.#recheck?.()
      },
    )
  }

  /**
   * Serves HTTP in the mesh: mutual TLS and plaintext on one port as policy allows, callers verified and authorized before
   * the listener sees them. `listener` is any `(req, res)`: a function, an Express or Koa (`app.callback()`) app.
   */
  createServer(listener: RequestListener, options: ServeOptions = {}): ServedServer {
    return this.#serve((internal) => createMeshServer(listener, { ...internal, ...options }))
  }

  /** Puts an existing node:http server, not yet listening, behind the mesh; for frameworks that make their own. */
  wrap(server: Server, options: ServeOptions = {}): ServedServer {
    return this.#serve((internal) => wrapServer(server, { ...internal, ...options }))
  }

  /** gRPC in the mesh: clients and servers of @grpc/grpc-js. */
  get grpc(): MeshGrpc {
    this.#grpc ??= new MeshGrpc({
      servers: { serve: (make) => this.#join((options, host) => new ServedPort(make(options), host, 'grpc')) },
      addAdminServices: (server) => addAdminServices(server, this.#link.xds),
      clients: {
        engine: this.#engine,
        clock: systemClock,
        identity: this.#link.identity,
        want: (authority) => this.#link.xds.watchAuthority(authority),
        propagateDeadlines: this.#options.propagateDeadlines,
      },
      logger: this.#options.logger,
      version,
    })
    return this.#grpc
  }

  /** Loopback port of /ready, /metrics, /config_dump and /explain; null = none. */
  get adminPort(): number | null {
    return this.#admin?.port ?? null
  }

  /**
   * Resolves when this process has its certificate, its servers have policy and are registered, and what `preload` names is
   * known. While the control plane is away, what an earlier run left in the state directory is enough.
   * @throws InmeshError ERR_INMESH_NOT_READY after `readyTimeoutMs`, or at once when the control plane refuses us
   */
  async ready(): Promise<void> {
    const { readyTimeoutMs } = this.#options
    const done = Promise.withResolvers<void>()
    const look = () => {
      if (this.#closing) done.reject(new InmeshError('ERR_INMESH_CLOSED', 'the mesh was closed'))
      else if (this.#failed !== null) done.reject(notReady(this.#failed.message, this.#failed))
      else if (this.#waitingFor().length === 0) done.resolve()
    }
    const before = this.#recheck
    this.#recheck = () => {
      before?.()
      look()
    }
    const timer = setTimeout(() => {
      const reason = this.#link.problem ?? this.#link.xds.status().lastError
      const why = reason === undefined || reason === '' ? '' : `: ${reason}`
      done.reject(notReady(`after ${readyTimeoutMs} ms still waiting for ${this.#waitingFor().join(', ')}${why}`))
    }, readyTimeoutMs)
    try {
      look()
      await done.promise
    } finally {
      clearTimeout(timer)
      this.#recheck = before
    }
  }

  /**
   * Leaves the mesh: says goodbye to the control plane, lets callers hear of it, finishes what is under way, closes
   * everything. Calls out stay possible until the servers have ended. Idempotent.
   */
  close(options: CloseMeshOptions = {}): Promise<void> {
    this.#closing = true
    this.#closed ??= this.#close(options)
    return this.#closed
  }

  /** Prometheus text of all metrics. */
  async metrics(): Promise<string> {
    return (await this.#telemetry.scrape()).body
  }

  on<K extends keyof MeshEventMap>(event: K, listener: (...args: MeshEventMap[K]) => void): this {
    this.#events.on(event, listener as never)
    return this
  }

  off<K extends keyof MeshEventMap>(event: K, listener: (...args: MeshEventMap[K]) => void): this {
    this.#events.off(event, listener as never)
    return this
  }

  /**
   * Lets code of the app take part in its calls: change or answer requests, say what answers mean, hear how calls end. The
   * function that comes back takes it out again. See {@link Interceptor}.
   *
   * @throws InmeshError ERR_INMESH_INVALID_OPTION
   */
  use(interceptor: Interceptor): () => void {
    return this.#engine.use(interceptor)
  }

  /**
   * Writes down what calls were made, as JSON lines for `inmesh replay`: method, URL, headers and status, never bodies, without
   * what holds secrets by its name.
   *
   * @param to a file to add to (made with mode 0600), or a stream, which stays open
   */
  record(to: string | Writable, options: RecordOptions = {}): Recording {
    let stop: () => void = () => undefined
    const recorder = new Recorder(to, this.workload, options, () => stop())
    stop = this.#engine.listen(recorder.events)
    return recorder
  }

  /**
   * Says what answers of a service mean where their status does not: retries, breakers, outlier detection and metrics follow.
   *
   *     mesh.classify('graph', ({ bodyStart }) => (hasErrors(bodyStart) ? 'failure' : undefined), { bodyBytes: 1_024 })
   *
   * @param service as dialled, or its full name
   */
  classify(
    service: string,
    classify: NonNullable<Interceptor['classify']>,
    options: Pick<Interceptor, 'bodyBytes'> = {},
  ): () => void {
    return this.use({ ...options, name: `classify ${service}`, services: [service], classify })
  }

  /**
   * Which rule such a request matches and why those before it do not, where it goes, which policies apply, which hosts may get
   * it and why others do not: by the rules and the state of this moment. Sends and changes nothing.
   *
   *     console.log(formatExplanation(mesh.explain({ url: 'http://payments/charge', headers: { 'x-user': 'beta' } })))
   *
   * @throws InmeshError ERR_INMESH_INVALID_OPTION for what is no absolute URL
   */
  explain(request: ExplainRequest): Explanation {
    if (!URL.canParse(request.url))
      throw new InmeshError(
        'ERR_INMESH_INVALID_OPTION',
        `url is ${JSON.stringify(request.url)}: expected an absolute URL`,
      )
    return explain(this.#engine, request, { passthrough: this.#options.dialAbsent })
  }

  /**
   * What a server of this process would do with a request: which policy admits or refuses it, by which rule. Takes no token of a
   * rate limit and counts nothing.
   *
   * @param port of the server; may be left out where there is one
   * @throws InmeshError ERR_INMESH_INVALID_OPTION when no server listens there, or its policy is not there yet
   */
  explainInbound(ask: InboundAsk, port?: number): InboundExplanation {
    const servers = [...this.#servers].filter(({ endpoint }) => port === undefined || endpoint?.port === port)
    const endpoint = servers.length === 1 ? servers[0]!.endpoint : null
    const inbound = endpoint === null ? undefined : this.#engine.inbound(servers[0]!.inboundName)
    if (inbound !== undefined) return explainInbound(inbound, ask)
    const what = endpoint === null ? `${servers.length} servers of this process match` : 'the policy has not come yet'
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `port is ${port ?? 'not said'}: ${what}`)
  }

  /** What this process is, has and waits for; the content of /config_dump. */
  status(): Record<string, unknown> {
    const { current } = this.#link.identity
    const { snapshot } = this.#engine
    return {
      workload: this.workload,
      waitingFor: this.#waitingFor(),
      certificate:
        current === undefined
          ? null
          : {
              spiffeId: current.spiffeId.text,
              serialNumber: current.serialNumber,
              notAfter: new Date(current.notAfter).toISOString(),
            },
      servers: [...this.#servers].map((s) => s.endpoint),
      xds: this.#link.xds.status(),
      listeners: [...snapshot.listeners.values()],
      clusters: [...this.#engine.clusters.values()].map((cluster) => ({
        ...cluster.spec,
        breakerState: cluster.breaker?.state ?? null,
        hosts: cluster.hosts.map((h) => ({
          address: h.spec.address,
          port: h.spec.port,
          active: h.active,
          ejected: h.ejectedUntil !== 0,
          reportedWeight: h.load?.latestWeight ?? null,
        })),
      })),
      inbound: [...snapshot.inbound.values()].map((spec) => {
        const shed = this.#engine.inbound(spec.name)?.runtime.shed ?? null
        return {
          ...spec,
          load: shed && {
            limit: shed.limit,
            inFlight: shed.inFlight,
            refused: shed.refused,
            emergency: shed.emergency,
          },
        }
      }),
      trustDomains: [...snapshot.trustBundles.keys()],
    }
  }

  #serve(make: (options: MeshServerOptions) => MeshServer): ServedServer {
    return this.#join((options, host) => new ServedServer(make(options), host))
  }

  #join<T extends ServedPort>(make: (options: MeshServerOptions, host: ServerHost) => T): T {
    const { refusesServers } = this.#link
    if (refusesServers !== null) throw new InmeshError('ERR_INMESH_INVALID_OPTION', refusesServers)
    const options: MeshServerOptions = {
      inbound: () => (served.endpoint === null ? undefined : this.#engine.inbound(served.inboundName)),
      identity: this.#link.identity,
      clock: systemClock,
      telemetry: this.#telemetry.server,
      logger: this.#options.logger,
    }
    const served = make(options, {
      advertise: this.#options.address,
      inboundName: (bound, dialled) => this.#link.inboundName(bound, dialled),
      opened: (opened) => {
        this.#servers.add(opened)
        this.#link.xds.watchInbound(opened.inboundName)
        this.#register()
      },
      closed: (closed) => {
        if (!this.#servers.delete(closed)) return
        this.#link.xds.unwatchInbound(closed.inboundName)
        this.#register()
      },
    })
    return served
  }

  #register(): void {
    if (this.#closed !== null) return
    const { service, labels, locality } = this.workload
    const { weight } = this.#options
    const now = [...this.#servers]
    // Without a certificate there is nothing to say yet; `start` registers what listens by then.
    const { registry, identity } = this.#link
    if (registry === null || identity.current === undefined) return
    registry.update(
      now.map(({ endpoint, protocol }) => ({
        ...{ service, ...endpoint!, labels, locality, weight },
        ...(protocol === 'grpc' ? { protocol } : {}),
      })),
    )
    registry.registered().then(
      () => {
        for (const server of now) this.#registered.add(server)
        this.#recheck?.()
      },
      (error: Error) => {
        if (this.#closed === null) this.#options.logger.warn('registration failed', { error: error.message })
      },
    )
  }

  /** What ready() and /ready wait for, in words. */
  #waitingFor(): string[] {
    if (this.#closing) return ['the end of this process']
    const waiting: string[] = []
    const { xds, identity, needsIdentity, registry } = this.#link
    if (needsIdentity && identity.current === undefined) waiting.push('a certificate')
    const { connected, lastError } = xds.status()
    // Away, not just on its way: then a stored configuration is all that can be had.
    const away = !connected && lastError !== ''
    for (const server of this.#servers) {
      const { address, port } = server.endpoint!
      if (this.#engine.inbound(server.inboundName) === undefined) waiting.push(`the policy of ${address}:${port}`)
      else if (registry !== null && !this.#registered.has(server) && !away)
        waiting.push(`the registration of ${address}:${port}`)
    }
    for (const name of this.#options.preload)
      if (this.#engine.outbound(name) === undefined && !this.#engine.isAbsent(name))
        waiting.push(`the configuration of ${name}`)
    return waiting
  }

  *#clusterGauges() {
    for (const cluster of this.#engine.clusters.values()) {
      yield {
        name: cluster.name,
        endpoints: cluster.hosts.length,
        ejected: cluster.hosts.filter((h) => h.ejectedUntil !== 0).length,
        breaker: cluster.breaker?.state ?? null,
      }
    }
  }

  async #close({ drainMs, graceMs }: CloseMeshOptions): Promise<void> {
    const servers = [...this.#servers]
    this.#recheck?.()
    if (servers.length > 0 && this.#failed === null) {
      await this.#link.registry?.drain(Math.min(5_000, drainMs ?? 5_000))
      const goOnMs = drainMs ?? 1_000
      // A quarter of the time to spread the end of connections over, so that callers do not all dial anew at once.
      for (const server of servers) server.drain(goOnMs / 4)
      await new Promise((resolve) => setTimeout(resolve, goOnMs))
      // The goodbye that removes the endpoints; from here on nobody new comes.
      await this.#link.registry?.close()
    }
    await Promise.all(servers.map((server) => server.close({ graceMs })))
    await Promise.all([this.dispatcher.close(), this.#grpc?.close()])
    await this.#link.close()
    this.#dns.close()
    await this.#passthrough.close()
    this.#engine.close()
    this.#telemetry.close()
    await this.#admin?.close()
    await this.#sdk?.shutdown()
    await this.#embedded?.leave()
    this.#forgetSignals?.()
  }
}

function notReady(message: string, cause?: Error): InmeshError {
  return new InmeshError('ERR_INMESH_NOT_READY', `not ready: ${message}`, cause === undefined ? {} : { cause })
}

/**
 * Joins the mesh. Resolves as soon as the process itself is set up; calls and connections wait for what must come from the
 * control plane, and `mesh.ready()` says when it is there.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for an option or variable that cannot be used
 * @throws ConfigError when what an embedded control plane shall say is refused
 */
export async function createMesh(options: MeshOptions = {}): Promise<Mesh> {
  const resolved = resolveOptions(options)
  const source = embeddedSource(resolved.controlPlane)
  if (source === undefined) {
    const mesh = new Mesh(resolved)
    await mesh.start()
    return mesh
  }
  const embedded = await joinEmbedded(source, resolved.workload, resolved.logger)
  try {
    const { address: controlPlane, token, stateDir } = embedded
    const mesh = new Mesh({ ...resolved, controlPlane, token, stateDir, trustBundleFile: null }, embedded)
    await mesh.start()
    return mesh
  } catch (error) {
    await embedded.leave()
    throw error
  }
}
