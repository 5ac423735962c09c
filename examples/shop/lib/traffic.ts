import { Pool } from 'undici'
import { type Answer, type Hop, hops } from './hop.ts'
import { countBy, showCounts } from './stats.ts'

/** A request of the world outside to frontend, and what came back. */
export interface Shot {
  method: 'GET' | 'POST'
  path: string
  headers: Readonly<Record<string, string>>
  /** The order's id, for POST. */
  id: string
  /** 0 = no answer at all. */
  status: number
  ms: number
  hop: Hop | null
  error: string
}

export interface Aim {
  method?: 'GET' | 'POST'
  path: string
  id?: string
  headers?: Record<string, string>
}

/** The browser side of the shop: plaintext HTTP from outside of the mesh. */
export class Traffic {
  #pool: Pool
  constructor(url: string) {
    this.#pool = new Pool(url, { connections: 32, pipelining: 1 })
  }

  async shoot({ method = 'GET', path, id = '', headers = {} }: Aim): Promise<Shot> {
    const started = performance.now()
    const shot: Shot = { method, path, headers, id, status: 0, ms: 0, hop: null, error: '' }
    try {
      const body = method === 'POST' ? JSON.stringify({ id }) : null
      const response = await this.#pool.request({ method, path, body, headers })
      shot.status = response.statusCode
      const text = await response.body.text()
      if (text.startsWith('{')) shot.hop = JSON.parse(text) as Hop
    } catch (error) {
      shot.error = error instanceof Error ? error.message : String(error)
    }
    shot.ms = performance.now() - started
    return shot
  }

  /** `count` requests, `atOnce` in flight. */
  async burst(count: number, atOnce: number, aim: (i: number) => Aim): Promise<Shot[]> {
    const shots: Shot[] = []
    let next = 0
    const worker = async () => {
      for (let i = next++; i < count; i = next++) shots.push(await this.shoot(aim(i)))
    }
    await Promise.all(Array.from({ length: atOnce }, worker))
    return shots
  }

  /** Requests without end, `atOnce` in flight, until `stop` gives what came of them. */
  stream(atOnce: number, aim: (i: number) => Aim, pauseMs = 0): { shots: readonly Shot[]; stop(): Promise<Shot[]> } {
    const shots: Shot[] = []
    let next = 0
    let on = true
    const worker = async () => {
      while (on) {
        shots.push(await this.shoot(aim(next++)))
        if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
      }
    }
    const workers = Array.from({ length: atOnce }, worker)
    return {
      shots,
      stop: async () => {
        on = false
        await Promise.all(workers)
        return shots
      },
    }
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }
}

/** What the last service in the chain answered, or the mesh in its place: the call that a step is about. */
export function lastAnswer(shot: Shot): Answer {
  const broken: Answer = { status: shot.status, ms: shot.ms, flags: '', details: shot.error, hop: null }
  if (shot.hop === null) return broken
  let answer: Answer = { ...broken, hop: shot.hop }
  while (answer.hop?.upstream[0] !== undefined) answer = answer.hop.upstream[0]
  return answer
}

/** Any hop of it failed: no answer, or one that is not 200. */
export function failed(shot: Shot): boolean {
  if (shot.status !== 200) return true
  for (const hop of hops(shot.hop)) if (hop.upstream.some((answer) => answer.status !== 200)) return true
  return false
}

/** "200 x 1990, 503 UO x 10", by what the last service answered. */
export function outcomes(shots: readonly Shot[]): string {
  return showCounts(
    countBy(shots, (shot) => {
      const { status, flags, details } = lastAnswer(shot)
      return status === 0 ? `no answer (${details})` : `${status}${flags === '' ? '' : ` ${flags}`}`
    }),
  )
}
