import { type BodyInit, type FormData, Request, type RequestInit as UndiciInit, fetch as undiciFetch } from 'undici'
import type { MeshDispatcher } from '../dispatcher.ts'
import { fastRequest } from './fast-request.ts'
import { FetchCall } from './fetch-call.ts'

/** WHATWG fetch. A call that the mesh itself refuses resolves with 503, 504 or the like, as behind a proxy. */
export type MeshFetch = (input: string | URL | globalThis.Request, init?: RequestInit) => Promise<Response>

/** Whoever replaces the global one by ours later must not send us in circles. */
const nodeFetch = globalThis.fetch

/**
 * Makes a `fetch` whose calls go through the mesh.
 *
 *     const response = await meshFetch(dispatcher)('http://payments/charge', { method: 'POST', body })
 *
 * What most calls are (a URL, method, headers, a body of text or bytes, a signal) takes a short way, at a quarter of the
 * CPU of the platform's own fetch; it answers with a `Response` whose stream, headers and so on are made when they are
 * asked for. Requests with streams, forms, `Request` objects or rarer options are the platform's fetch over the mesh.
 * The short way asks for no content coding, because between services of one mesh it costs more than it saves; answers that
 * are coded nevertheless are decoded.
 *
 * Rejects as fetch does: TypeError "fetch failed" with the cause, or the signal's reason.
 */
export function meshFetch(dispatcher: MeshDispatcher): MeshFetch {
  return (input, init) => {
    let request: ReturnType<typeof fastRequest>
    try {
      request = fastRequest(input, init)
    } catch (error) {
      return Promise.reject(error)
    }
    if (request !== null) return new Promise((resolve, reject) => new FetchCall(dispatcher, request, resolve, reject))
    const options = { ...init, dispatcher } as unknown
    // Requests and forms of an undici beside Node's own are known to that one only.
    if (input instanceof Request || isForm(init?.body as BodyInit | undefined))
      return undiciFetch(input as unknown as Request, options as UndiciInit) as unknown as Promise<Response>
    return nodeFetch(input, options as RequestInit)
  }
}

function isForm(body: BodyInit | null | undefined): body is FormData {
  return (
    typeof body === 'object' &&
    body !== null &&
    body.constructor?.name === 'FormData' &&
    !(body instanceof globalThis.FormData)
  )
}
