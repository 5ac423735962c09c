import type { FastRequest } from './fast-request.ts'

/**
 * The request that follows a redirect (Fetch standard, HTTP-redirect fetch): 303, and 301 and 302 after a POST, become GET
 * without body; towards another origin credentials stay behind.
 * @throws TypeError when the location cannot be followed
 */
export function redirected(request: FastRequest, status: number, location: string): FastRequest {
  const from = request.origin + request.path
  if (!URL.canParse(location, from)) throw new TypeError(`cannot follow the redirect to ${JSON.stringify(location)}`)
  const url = new URL(location, from)
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new TypeError(`cannot follow a redirect to ${url.protocol}`)
  if (url.username !== '' || url.password !== '') throw new TypeError('a redirect with credentials in its URL')
  const toGet =
    (status === 303 && request.method !== 'GET' && request.method !== 'HEAD') ||
    ((status === 301 || status === 302) && request.method === 'POST')
  const left = toGet ? bodyHeaders : none
  const secret = url.origin === request.origin ? none : secrets
  const headers: string[] = []
  for (let i = 0; i < request.headers.length; i += 2) {
    const name = request.headers[i]!.toLowerCase()
    if (!left.has(name) && !secret.has(name)) headers.push(request.headers[i]!, request.headers[i + 1]!)
  }
  return {
    ...request,
    method: toGet ? 'GET' : request.method,
    origin: url.origin,
    path: url.pathname + url.search,
    headers,
    body: toGet ? null : request.body,
  }
}

const none: ReadonlySet<string> = new Set()
const bodyHeaders: ReadonlySet<string> = new Set([
  'content-encoding',
  'content-language',
  'content-location',
  'content-type',
  'content-length',
])
const secrets: ReadonlySet<string> = new Set(['authorization', 'proxy-authorization', 'cookie', 'host'])
