import { fetch, type RequestInfo, type RequestInit, type Response } from 'undici'
import type { MeshDispatcher } from './dispatcher.ts'

/** WHATWG fetch. A call that the mesh itself refuses resolves with 503, 504 or the like, as behind a proxy. */
export type MeshFetch = (input: RequestInfo, init?: RequestInit) => Promise<Response>

/**
 * Makes a `fetch` whose calls go through the mesh.
 *
 *     const response = await meshFetch(dispatcher)('http://payments/charge', { method: 'POST', body })
 */
export function meshFetch(dispatcher: MeshDispatcher): MeshFetch {
  return (input, init) => fetch(input, { ...init, dispatcher })
}
