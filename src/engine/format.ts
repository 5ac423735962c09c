import { hostname } from 'node:os'
import { formatTime, headerSafe, type Operator, parseFormat } from '../match/format.ts'
import type { Call } from './call.ts'
import { pseudo } from './compile-match.ts'
import type { RequestView } from './exchange.ts'

/** Headers of an answer by lower case name, as transports show them. */
export type ResponseHeaders = Record<string, string | string[] | undefined>

/** What a format may look at. */
export interface FormatView {
  readonly request: RequestView
  /** null = a local answer without a call. */
  readonly call: Call | null
  /** null = no answer yet. */
  readonly response: ResponseHeaders | null
  readonly routeName: string
}

/** A constant, or a function of the call. What is not there is ''. */
export type Format = string | ((view: FormatView) => string)

/** @throws InmeshError ERR_INMESH_INVALID_OPTION; see `parseFormat` */
export function compileFormat(text: string): Format {
  const parts = parseFormat(text).map((part) => (typeof part === 'string' ? part : cut(part, compileOperator(part))))
  if (parts.every((part) => typeof part === 'string')) return parts.join('')
  if (parts.length === 1) return parts[0]!
  return (view) => {
    let out = ''
    for (const part of parts) out += typeof part === 'string' ? part : part(view)
    return out
  }
}

function cut({ maxLength }: Operator, format: Format): Format {
  if (maxLength === Number.POSITIVE_INFINITY) return format
  return typeof format === 'string' ? format.slice(0, maxLength) : (view) => format(view).slice(0, maxLength)
}

function compileOperator({ name, argument }: Operator): Format {
  switch (name) {
    case 'REQ':
      return eitherOf(argument, (view, header) => pseudo(view.request, header))
    case 'RESP':
      return eitherOf(argument, (view, header) =>
        header === ':status' ? String(view.call?.status ?? '') : joined(view.response?.[header]),
      )
    case 'START_TIME':
      return ({ call }) => formatTime(startOf(call), argument)
    case 'ENVIRONMENT':
      return headerSafe(process.env[argument] ?? '')
    case 'HOSTNAME':
      return hostname()
    case 'PROTOCOL':
      return 'HTTP/1.1'
    case 'DURATION':
      return ({ call }) => (call === null ? '0' : String(Math.round(call.now - call.startedAt)))
    case 'RESPONSE_CODE':
      return ({ call }) => String(call?.status ?? 0)
    case 'RESPONSE_CODE_DETAILS':
      return ({ call, response }) => (call === null || response === null ? '' : call.details)
    case 'RESPONSE_FLAGS':
      return ({ call }) => call?.flag ?? '-'
    case 'ROUTE_NAME':
      return (view) => view.routeName
    case 'UPSTREAM_CLUSTER':
    case 'UPSTREAM_CLUSTER_RAW':
      return ({ call }) => call?.cluster.name ?? ''
    case 'UPSTREAM_HOST':
    case 'UPSTREAM_REMOTE_ADDRESS':
      return ({ call }) => peerOf(call, true, true)
    case 'UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT':
      return ({ call }) => peerOf(call, true, false)
    case 'UPSTREAM_REMOTE_PORT':
      return ({ call }) => peerOf(call, false, true)
    case 'UPSTREAM_REQUEST_ATTEMPT_COUNT':
      return ({ call }) => String(call?.attempts ?? 0)
    // The caller is this process itself: there is no connection between it and the mesh.
    case 'REQUESTED_SERVER_NAME':
    case 'DOWNSTREAM_LOCAL_ADDRESS':
    case 'DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT':
    case 'DOWNSTREAM_LOCAL_PORT':
    case 'DOWNSTREAM_REMOTE_ADDRESS':
    case 'DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT':
    case 'DOWNSTREAM_REMOTE_PORT':
    case 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS':
    case 'DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT':
      return ''
  }
}

/** `X?Y`: the second header where the first is absent or empty. */
function eitherOf(argument: string, read: (view: FormatView, header: string) => string | undefined): Format {
  const [first, second] = argument.toLowerCase().split('?')
  if (second === undefined) return (view) => read(view, first!) ?? ''
  return (view) => read(view, first!) || (read(view, second) ?? '')
}

function joined(value: string | string[] | undefined): string | undefined {
  return typeof value === 'object' ? value.join(',') : value
}

function peerOf(call: Call | null, address: boolean, port: boolean): string {
  const spec = (call?.winner ?? call?.latest)?.host.spec
  if (spec === undefined) return ''
  if (!address) return String(spec.port)
  if (!port) return spec.address
  return spec.address.includes(':') ? `[${spec.address}]:${spec.port}` : `${spec.address}:${spec.port}`
}

/** Wall clock ms. A call's own clock is monotonic; how long ago it began is the same on both. */
function startOf(call: Call | null): number {
  return call === null ? Date.now() : call.wallNow() - (call.now - call.startedAt)
}
