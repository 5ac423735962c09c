import { createSecureContext } from 'node:tls'
import { type Dispatcher, Pool } from 'undici'
import { MeshDispatcher } from '../src/http/dispatcher.ts'
import { meshFetch } from '../src/http/fetch/fetch.ts'
import type { IdentityState } from '../src/identity/identity-state.ts'
import { systemClock } from '../src/model/clock.ts'
import type { Snapshot } from '../src/model/snapshot.ts'
import { identityOf, meshEngine } from './mesh-parts.ts'
import { addresses, type ClientSetup } from './protocol.ts'
import { benchSnapshot, manyRoutes, plainSnapshot, serviceNames } from './snapshot.ts'

const CONNECTIONS = 16
const path = '/items/42'
const headers = {
  accept: 'application/json',
  'accept-language': 'en',
  'user-agent': 'bench',
  'x-tenant': 'shop-17',
  cookie: 'session=0123456789abcdef',
  authorization: 'Bearer 0123456789abcdef0123456789abcdef',
}

/** The same request, made in the way of one variant; resolves with the body. */
export async function createRequester(setup: ClientSetup): Promise<() => Promise<string>> {
  if (setup.variant === 'bare-fetch') {
    const url = `http://${addresses[0]}:${setup.ports.http}${path}`
    return async () => (await fetch(url, { headers })).text()
  }
  const dispatchers = dispatchersOf(setup)
  if (setup.variant === 'mesh-fetch') {
    const meshed = meshFetch(dispatchers[0] as MeshDispatcher)
    return async () => (await meshed(`http://payments${path}`, { headers })).text()
  }
  const mesh = dispatchers[0] instanceof MeshDispatcher
  const options = {
    ...(mesh ? { origin: 'http://payments' } : {}),
    path,
    method: 'GET',
    headers,
  } as Dispatcher.RequestOptions
  const [only] = dispatchers
  if (setup.variant === 'mesh-one' || setup.variant === 'mesh-routes') {
    // Both have as many objects of their own to care for: they differ in the services that they call.
    const all = serviceNames.map((name) => {
      const called = setup.variant === 'mesh-one' ? serviceNames[0] : name
      return { ...options, origin: `http://${called}` } as Dispatcher.RequestOptions
    })
    let next = 0
    return async () => (await only!.request(all[next++ % all.length]!)).body.text()
  }
  if (dispatchers.length === 1) return async () => (await only!.request(options)).body.text()
  return async () => {
    const drawn = dispatchers[Math.floor(Math.random() * dispatchers.length)]!
    return (await drawn.request(options)).body.text()
  }
}

function dispatchersOf({ variant, ports, credentials, serverId, trustDomain }: ClientSetup): Dispatcher[] {
  switch (variant) {
    case 'bare':
    case 'control':
      return addresses.map((a) => new Pool(`http://${a}:${ports.http}`, { connections: CONNECTIONS }))
    case 'one-pool':
      return [new Pool(`http://${addresses[0]}:${ports.http}`, { connections: CONNECTIONS })]
    case 'bare-mtls': {
      const { cert, key, root } = credentials
      const secureContext = createSecureContext({ cert, key, ca: [root], minVersion: 'TLSv1.3' })
      // The certificate names a SPIFFE id and no host.
      const connect = { secureContext, servername: 'inmesh.internal', checkServerIdentity: () => undefined }
      return addresses.map(
        (a) => new Pool(`https://${a}:${ports.https}`, { connections: CONNECTIONS, allowH2: false, connect }),
      )
    }
    case 'mesh':
    case 'mesh-fetch':
      return [mesh(benchSnapshot(ports.http, null), null)]
    case 'mesh-one':
    case 'mesh-routes':
      return [mesh(manyRoutes(ports.http), null)]
    case 'mesh-off':
      return [mesh(plainSnapshot(ports.http), null)]
    case 'bare-fetch':
      return []
    case 'mesh-mtls':
      return [mesh(benchSnapshot(ports.https, serverId), identityOf(credentials, trustDomain))]
  }
}

function mesh(snapshot: Snapshot, identity: IdentityState | null): MeshDispatcher {
  const engine = meshEngine(snapshot)
  return new MeshDispatcher({ engine, clock: systemClock, identity, want: () => undefined, passthrough: null })
}
