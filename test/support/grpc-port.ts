/** A gRPC server behind a port of the mesh, for tests: with the policy that the test names. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Server, type ServerOptions } from '@grpc/grpc-js'
import { driveWheel } from '../../src/engine/driver.ts'
import { Inbound } from '../../src/engine/inbound.ts'
import { InboundRuntime } from '../../src/engine/inbound-runtime.ts'
import { systemRandom } from '../../src/engine/random.ts'
import { TimerWheel } from '../../src/engine/time.ts'
import { Connections } from '../../src/grpc/server/connections.ts'
import { meshInterceptor } from '../../src/grpc/server/interceptor.ts'
import { GrpcPort, type GrpcPortOptions } from '../../src/grpc/server/port.ts'
import type { IdentityState } from '../../src/identity/identity-state.ts'
import { systemClock } from '../../src/model/clock.ts'
import { type InboundSpec, inboundDefaults, shedDefaults } from '../../src/model/inbound.ts'
import { type EchoHandlers, echo, echoService } from './grpc-echo.ts'

export interface TestPort {
  readonly port: GrpcPort
  readonly number: number
  readonly server: Server
  readonly runtime: InboundRuntime
  /** The policy from now on. */
  set(spec: Partial<InboundSpec>): void
  close(): Promise<void>
}

export interface TestPortOptions extends Partial<Omit<GrpcPortOptions, 'inbound' | 'identity'>> {
  identity: IdentityState
  /** null = it has not come yet. Default: DISABLE, nothing else. */
  spec?: Partial<InboundSpec> | null
  handlers?: Partial<EchoHandlers>
  server?: ServerOptions
  /** The server is made without the interceptor of the mesh. */
  bare?: boolean
}

const noShed = { ...shedDefaults, enabled: false }

/** From now on everything but CRITICAL is too much for it, whatever its event loop does. Its spec must have `shed`. */
export function overload({ runtime }: TestPort): void {
  Object.defineProperty(runtime.shed!, 'emergency', { get: () => true, set: () => undefined })
}

/** Closes what it opened when `close` is called. */
export async function openPort(options: TestPortOptions): Promise<TestPort> {
  const { identity, spec = {}, handlers, server: serverOptions, bare = false, ...more } = options
  const wheel = new TimerWheel()
  const stopWheel = driveWheel(wheel, systemClock)
  const runtime = new InboundRuntime({ clock: systemClock, random: systemRandom, wheel })
  const compile = (some: Partial<InboundSpec>) =>
    // Load is shed where a test asks for it, not because the machine is busy.
    new Inbound({ ...inboundDefaults, name: 'test', tlsMode: 'DISABLE', rbac: [], shed: noShed, ...some }, runtime)
  let inbound = spec === null ? undefined : compile(spec)
  const connections = new Connections()
  const interceptors = bare ? [] : [meshInterceptor(connections)]
  const server = new Server({
    ...serverOptions,
    interceptors: [...interceptors, ...(serverOptions?.interceptors ?? [])],
  })
  server.addService(echoService, { ...echo, ...handlers })
  const port = new GrpcPort(server, !bare, {
    clock: systemClock,
    connections,
    ...more,
    identity,
    inbound: () => inbound,
  })
  port.server.listen(0, '127.0.0.1')
  await once(port.server, 'listening')
  return {
    port,
    number: (port.address() as AddressInfo).port,
    server,
    runtime,
    set: (next) => {
      inbound = compile(next)
    },
    close: async () => {
      await port.close({ graceMs: 0 })
      stopWheel()
    },
  }
}
