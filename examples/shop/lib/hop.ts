import type { IncomingMessage, ServerResponse } from 'node:http'
import { getPeer, type Mesh } from 'inmesh'

/** What a service of the shop tells about one request: who it is, who called it, and what it got from those it called. */
export interface Hop {
  service: string
  version: string
  instance: string
  /** The verified caller; null = plaintext. */
  caller: { spiffeId: string; tlsVersion: string; serialNumber: string; notAfter: number } | null
  upstream: Answer[]
}

/** An answer as the caller saw it. */
export interface Answer {
  status: number
  ms: number
  /** Envoy's response flags when the mesh answered itself, else ''. */
  flags: string
  details: string
  hop: Hop | null
}

/** Answers with what happened. A failed neighbour is part of the story, not a failure of this service. */
export function reply(res: ServerResponse, req: IncomingMessage, upstream: Answer[] = [], status = 200): void {
  const hop: Hop = {
    service: process.env.INMESH_SERVICE ?? '',
    version: process.env.SHOP_VERSION ?? 'v1',
    instance: process.env.SHOP_INSTANCE ?? '',
    caller: getPeer(req) ?? null,
    upstream,
  }
  res.writeHead(status, { 'content-type': 'application/json' })
  res.end(JSON.stringify(hop))
}

/** Calls a neighbour by name and takes the answer apart. An answer that breaks in the middle has status 0. */
export async function call(mesh: Mesh, url: string, init?: Parameters<Mesh['fetch']>[1]): Promise<Answer> {
  const started = performance.now()
  const answer: Answer = { status: 0, ms: 0, flags: '', details: '', hop: null }
  try {
    const response = await mesh.fetch(url, init)
    const text = await response.text()
    answer.status = response.status
    answer.flags = response.headers.get('x-inmesh-response-flags') ?? ''
    answer.details = response.headers.get('x-inmesh-response-details') ?? ''
    if (text.startsWith('{')) answer.hop = JSON.parse(text) as Hop
  } catch (error) {
    answer.details = error instanceof Error ? error.message : String(error)
  }
  answer.ms = performance.now() - started
  return answer
}

/** Every hop of an answer, outermost first. */
export function* hops(hop: Hop | null): Generator<Hop> {
  if (hop === null) return
  yield hop
  for (const answer of hop.upstream) yield* hops(answer.hop)
}
