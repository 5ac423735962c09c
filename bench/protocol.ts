/** What the processes of the benchmark say to each other. */

/**
 * The ways to make the same request. `bare` is undici without the mesh: one Pool per endpoint, drawn at random, so that both
 * have the same connections to care for. `control` is `bare` again: what it differs by is noise. `one-pool` shows what
 * several endpoints cost by themselves. `mesh` has every feature configured on the route it takes, `mesh-off` none.
 * `mesh-routes` is `mesh` with 1,000 services, called in turn, whose routes lead to the same endpoints; `mesh-one` has the same
 * configuration in memory, and as many objects that describe requests, and calls one of them.
 * `bare-fetch` is the platform's fetch, `mesh-fetch` that of the mesh, with the features of `mesh`.
 */
export const variants = [
  'bare',
  'control',
  'one-pool',
  'mesh',
  'mesh-off',
  'mesh-one',
  'mesh-routes',
  'bare-fetch',
  'mesh-fetch',
  'bare-mtls',
  'mesh-mtls',
] as const
export type Variant = (typeof variants)[number]

/** Against which variant each is measured. */
export const baseOf: Readonly<Record<Variant, Variant>> = {
  bare: 'bare',
  control: 'bare',
  'one-pool': 'bare',
  mesh: 'bare',
  'mesh-off': 'bare',
  'mesh-one': 'bare',
  'mesh-routes': 'mesh-one',
  'bare-fetch': 'bare',
  'mesh-fetch': 'bare',
  'bare-mtls': 'bare-mtls',
  'mesh-mtls': 'bare-mtls',
}

/** One server under several addresses. */
export const addresses = ['127.0.0.1', '127.0.0.2', '127.0.0.3'] as const

/** PEM. */
export interface Credentials {
  readonly cert: string
  readonly key: string
  readonly root: string
}

export interface ServerSetup {
  readonly credentials: Credentials
}

export interface ServerPorts {
  readonly http: number
  readonly https: number
}

export interface ClientSetup {
  readonly variant: Variant
  readonly ports: ServerPorts
  readonly credentials: Credentials
  /** SPIFFE id of the server. */
  readonly serverId: string
  readonly trustDomain: string
}

export interface Round {
  readonly requests: number
  readonly concurrency: number
  /** Also count the bytes allocated: only meaningful when no garbage collection falls in between. */
  readonly bytes: boolean
}

export interface RoundResult {
  /** Of all threads of the client process, per request. */
  readonly cpuUs: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** null = a garbage collection spoilt the count, or it was not asked for. */
  readonly bytes: number | null
}
