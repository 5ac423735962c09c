/** A request that needs none of fetch's rarer features. */
export interface FastRequest {
  readonly method: string
  readonly origin: string
  /** With query. */
  readonly path: string
  /** Flat name, value. */
  readonly headers: readonly string[]
  readonly body: string | Uint8Array | null
  readonly signal: AbortSignal | null
  readonly redirect: 'follow' | 'error' | 'manual'
}

/** Where a request goes. */
export interface Target {
  readonly origin: string
  readonly path: string
}

/** What a URL parser would leave as it is: no credentials, dots, backslashes, blanks or anything to be percent-encoded. */
const plainUrl =
  /^(http:\/\/[a-z0-9.-]+(?::[0-9]{1,5})?)((?:\/(?!\.)[A-Za-z0-9\-._~!$&()*+,;=:@]*)*(?:\?[A-Za-z0-9\-._~!$&()*+,;=:@/?%]+)?)$/

/** @returns undefined = not for the short way: another scheme, credentials, or no URL at all */
export function targetOf(input: string | URL): Target | undefined {
  if (typeof input === 'string') {
    const plain = plainUrl.exec(input)
    if (plain !== null) {
      const path = plain[2]!
      return { origin: plain[1]!, path: path === '' ? '/' : path.charCodeAt(0) === 0x2f ? path : `/${path}` }
    }
    if (!URL.canParse(input)) return undefined
  }
  const url = typeof input === 'string' ? new URL(input) : input
  if (url.protocol !== 'http:' || url.username !== '' || url.password !== '') return undefined
  return { origin: url.origin, path: url.pathname + url.search }
}

/**
 * Reads the arguments of fetch.
 * @returns null = it takes the platform's fetch
 * @throws TypeError as fetch does for a forbidden method, a body where none may be, or a header that cannot be
 */
export function fastRequest(input: string | URL | Request, init: RequestInit | undefined): FastRequest | null {
  if (typeof input !== 'string' && !(input instanceof URL)) return null
  const target = targetOf(input)
  if (target === undefined) return null
  if (init === undefined)
    return { method: 'GET', ...target, headers: plainHeaders, body: null, signal: null, redirect: 'follow' }
  for (const key in init) if (!known(key)) return null
  const { signal = null, redirect = 'follow' } = init
  if (redirect !== 'follow' && redirect !== 'error' && redirect !== 'manual') return null
  const body = bodyOf(init.body)
  if (body === undefined) return null
  const method = methodOf(init.method)
  if (body.bytes !== null && (method === 'GET' || method === 'HEAD'))
    throw new TypeError('Request with GET/HEAD method cannot have body.')
  const headers = headersOf(init.headers, body.type)
  return { method, ...target, headers, body: body.bytes, signal, redirect }
}

function known(key: string): boolean {
  return key === 'method' || key === 'headers' || key === 'body' || key === 'signal' || key === 'redirect'
}

const plainHeaders = ['accept', '*/*', 'user-agent', 'inmesh'] as const

function methodOf(method: string | undefined): string {
  if (method === undefined || method === 'GET' || method === 'POST') return method ?? 'GET'
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(method)) throw new TypeError(`'${method}' is not a valid HTTP method.`)
  const upper = method.toUpperCase()
  switch (upper) {
    case 'CONNECT':
    case 'TRACE':
    case 'TRACK':
      throw new TypeError(`'${method}' HTTP method is unsupported.`)
    case 'GET':
    case 'HEAD':
    case 'POST':
    case 'PUT':
    case 'DELETE':
    case 'OPTIONS':
      return upper
    default:
      // The others keep their case (Fetch standard, "normalize a method").
      return method
  }
}

interface Body {
  readonly bytes: string | Uint8Array | null
  /** Content-Type where the caller says none; '' = none. */
  readonly type: string
}

const noBody: Body = { bytes: null, type: '' }

/** undefined = it takes the platform's fetch. */
function bodyOf(body: unknown): Body | undefined {
  if (body === undefined || body === null) return noBody
  if (typeof body === 'string') return { bytes: body, type: 'text/plain;charset=UTF-8' }
  // Copied, as fetch does: the caller may go on writing into it.
  if (ArrayBuffer.isView(body))
    return { bytes: new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice(), type: '' }
  if (body instanceof ArrayBuffer) return { bytes: new Uint8Array(body).slice(), type: '' }
  if (body instanceof URLSearchParams)
    return { bytes: body.toString(), type: 'application/x-www-form-urlencoded;charset=UTF-8' }
  return undefined
}

const goodName = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/
/** Latin-1 without line ends and NUL (Fetch standard, "header value"). */
const goodValue = /^[^\0\r\n\u0100-\uffff]*$/

function headersOf(given: RequestInit['headers'], type: string): readonly string[] {
  if (given === undefined && type === '') return plainHeaders
  const out: string[] = []
  let accept = false
  let agent = false
  let typed = type === ''
  const add = (name: string, text: string) => {
    if (!goodName.test(name)) throw new TypeError(`Headers: ${JSON.stringify(name)} is an invalid header name.`)
    if (!goodValue.test(text)) throw new TypeError(`Headers: ${name} has an invalid value.`)
    switch (name.length) {
      case 6:
        accept ||= name.toLowerCase() === 'accept'
        break
      case 10:
        agent ||= name.toLowerCase() === 'user-agent'
        break
      case 12:
        typed ||= name.toLowerCase() === 'content-type'
        break
      case 14:
        // Counted from the body.
        if (name.toLowerCase() === 'content-length') return
        break
      default:
    }
    out.push(name, text.trim())
  }
  if (given !== undefined) {
    if (Symbol.iterator in given) {
      for (const pair of given as Iterable<readonly string[]>) {
        const [name, value, more] = pair
        if (name === undefined || value === undefined || more !== undefined)
          throw new TypeError('Headers: expected pairs of name and value.')
        add(String(name), String(value))
      }
    } else for (const name in given) add(name, String((given as Record<string, string>)[name]))
  }
  if (!accept) out.push('accept', '*/*')
  if (!agent) out.push('user-agent', 'inmesh')
  if (!typed) out.push('content-type', type)
  return out
}
