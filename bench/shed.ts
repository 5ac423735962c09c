/**
 * One server process that takes 5 ms of CPU for each call, offered one and a half times of what it can do: what load
 * shedding makes of it. Good = answered 200 within half a second; callers wait no longer than two.
 *
 *     node bench/shed.ts [seconds]
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Inbound } from '../src/engine/inbound.ts'
import { createMeshServer } from '../src/http/server.ts'
import { IdentityState } from '../src/identity/identity-state.ts'
import { systemClock } from '../src/model/clock.ts'
import { inboundDefaults, type ShedSpec, shedDefaults } from '../src/model/inbound.ts'

const CPU_MS = 5
const PER_SECOND = 300
const GOOD_MS = 500
const GIVE_UP_MS = 2_000
const CONNECTIONS = 700

type Mode = { readonly shed: Partial<ShedSpec>; readonly waitMs: number }
const off: Partial<ShedSpec> = { enabled: false }
const fixed = (limit: number): Partial<ShedSpec> => ({ initialLimit: limit, minLimit: limit, maxLimit: limit })

if (process.env.SHED_MODE !== undefined) await serve(JSON.parse(process.env.SHED_MODE) as Mode)
else await measureAll(Number(process.argv[2] ?? 6))

async function serve({ shed, waitMs }: Mode): Promise<void> {
  const spec = { ...shedDefaults, ...shed }
  const inbound = new Inbound({ ...inboundDefaults, name: 'bench', tlsMode: 'DISABLE', rbac: [], shed: spec })
  const server = createMeshServer(
    (req, res) => {
      if (req.url === '/warm') {
        res.end()
        return
      }
      const end = performance.now() + CPU_MS
      while (performance.now() < end);
      if (waitMs === 0) res.end('ok')
      else setTimeout(() => res.end('ok'), waitMs)
    },
    {
      identity: new IdentityState({ trustDomain: 'cluster.local' }),
      inbound: () => inbound,
      clock: systemClock,
    },
  )
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  process.send!((server.address() as AddressInfo).port)
}

async function measureAll(seconds: number): Promise<void> {
  const table: Record<string, string | number>[] = []
  for (const waitMs of [0, 50])
    for (const [name, shed] of [
      ['none', off],
      ['fixed 20', fixed(20)],
      ['AIMD from 50', { initialLimit: 50 }],
      ['default', {}],
    ] as const)
      table.push({
        handler: waitMs === 0 ? '5 ms CPU' : `5 ms CPU, waits ${waitMs}`,
        limit: name,
        ...(await measure({ shed, waitMs }, seconds)),
      })
  console.table(table)
}

async function measure(mode: Mode, seconds: number): Promise<Record<string, number>> {
  const child = fork(import.meta.filename, { env: { ...process.env, SHED_MODE: JSON.stringify(mode) } })
  const [port] = (await once(child, 'message')) as [number]
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, maxFreeSockets: CONNECTIONS })
  const count = { good: 0, late: 0, refused: 0, failed: 0 }
  const times: number[] = []
  const one = () =>
    new Promise<void>((resolve) => {
      const began = performance.now()
      const request = get({ port, host: '127.0.0.1', agent, timeout: GIVE_UP_MS }, (response) => {
        response.resume().on('end', () => {
          const ms = performance.now() - began
          if (response.statusCode === 503) count.refused++
          else if (ms > GOOD_MS) count.late++
          else {
            count.good++
            times.push(ms)
          }
          resolve()
        })
      })
      request.on('timeout', () => request.destroy())
      request.on('error', () => {
        count.failed++
        resolve()
      })
    })
  // Connections that are there already: a mesh keeps them, and of new ones a turn of the event loop takes but one.
  const warm = () =>
    new Promise((resolve) => {
      get({ port, host: '127.0.0.1', agent, path: '/warm' }, (response) => response.resume().on('end', resolve))
    })
  await Promise.all(Array.from({ length: CONNECTIONS }, warm))
  const calls: Promise<void>[] = []
  const began = performance.now()
  while (performance.now() - began < seconds * 1000) {
    const due = ((performance.now() - began) / 1000) * PER_SECOND
    while (calls.length < due) calls.push(one())
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await Promise.all(calls)
  agent.destroy()
  child.kill()
  times.sort((a, b) => a - b)
  return {
    'good/s': Math.round(count.good / seconds),
    late: count.late,
    refused: count.refused,
    failed: count.failed,
    'p99 of good': Math.round(times[Math.floor(times.length * 0.99)] ?? 0),
  }
}
