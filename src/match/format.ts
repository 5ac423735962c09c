import { InmeshError } from '../errors.ts'

/** What an operator takes in parentheses; `?` = it may go without. */
const operators = {
  REQ: 'header',
  RESP: 'header',
  START_TIME: 'time?',
  ENVIRONMENT: 'name',
  PROTOCOL: null,
  DURATION: null,
  RESPONSE_CODE: null,
  RESPONSE_CODE_DETAILS: null,
  RESPONSE_FLAGS: null,
  ROUTE_NAME: null,
  HOSTNAME: null,
  REQUESTED_SERVER_NAME: null,
  UPSTREAM_CLUSTER: null,
  UPSTREAM_CLUSTER_RAW: null,
  UPSTREAM_HOST: null,
  UPSTREAM_REMOTE_ADDRESS: null,
  UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: null,
  UPSTREAM_REMOTE_PORT: null,
  UPSTREAM_REQUEST_ATTEMPT_COUNT: null,
  DOWNSTREAM_LOCAL_ADDRESS: null,
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: null,
  DOWNSTREAM_LOCAL_PORT: null,
  DOWNSTREAM_REMOTE_ADDRESS: null,
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: null,
  DOWNSTREAM_REMOTE_PORT: null,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: null,
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: null,
} as const

export type OperatorName = keyof typeof operators

/** `%NAME(argument):maxLength%`. */
export interface Operator {
  readonly name: OperatorName
  /** '' = none. For headers `X?Y`: the first of them that is there. */
  readonly argument: string
  /** Characters; Infinity = all. */
  readonly maxLength: number
}

const OPERATOR = /%(?:%|([A-Z0-9_]+)(?:\(([^)]*)\))?(?::([0-9]{1,9}))?%)/y
const NO_HEADER = /[^\t\x20-\x7e\x80-\xff]/
const TIME = /%(?:[YmdHMSszZTFejyab%]|[1-9]?f)/g

/**
 * Reads a format of Envoy's (header values, "Custom request/response headers"): text with `%OPERATOR%`, where `%%` is one
 * percent sign. Literal parts come as text.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for an operator that is unknown or not finished
 */
export function parseFormat(text: string): readonly (string | Operator)[] {
  if (NO_HEADER.test(text)) throw bad(text, 'it has characters that no header value may have (RFC 9110 section 5.5)')
  const parts: (string | Operator)[] = []
  let literal = ''
  for (let at = 0; at < text.length; ) {
    if (text[at] !== '%') {
      literal += text[at++]
      continue
    }
    OPERATOR.lastIndex = at
    const match = OPERATOR.exec(text)
    if (match === null) throw bad(text, `the % at position ${at} begins no operator: a percent sign is written %%`)
    at = OPERATOR.lastIndex
    const [, name, argument, maxLength] = match
    if (name === undefined) {
      literal += '%'
      continue
    }
    if (literal !== '') parts.push(literal)
    literal = ''
    parts.push(operator(text, name, argument, maxLength))
  }
  if (literal !== '' || parts.length === 0) parts.push(literal)
  return parts
}

/** Text from outside of the configuration as a header value: what must not be in one is left out. */
export function headerSafe(text: string): string {
  return text.replace(/[^\t\x20-\x7e\x80-\xff]/g, '')
}

/**
 * For decoders: refuses what {@link parseFormat} cannot read.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION
 */
export function checkFormat(text: string): void {
  parseFormat(text)
}

/**
 * Request headers that the transport alone says: an edit of them would break the message (RFC 9110 section 7.6.1) or be
 * undone. `name` in lower case.
 */
export function isTransportHeader(name: string): boolean {
  switch (name) {
    case 'connection':
    case 'content-length':
    case 'expect':
    case 'host':
    case 'keep-alive':
    case 'proxy-connection':
    case 'te':
    case 'trailer':
    case 'transfer-encoding':
    case 'upgrade':
      return true
    default:
      return name.startsWith(':')
  }
}

function operator(text: string, name: string, argument: string | undefined, maxLength: string | undefined): Operator {
  if (!Object.hasOwn(operators, name)) throw bad(text, `%${name}% is not known here`)
  const rule = operators[name as OperatorName]
  if (rule === null && argument !== undefined) throw bad(text, `%${name}% takes nothing in parentheses`)
  if ((rule === 'header' || rule === 'name') && (argument ?? '') === '')
    throw bad(text, `%${name}% needs a name in parentheses`)
  if (rule === 'header' && !/^:?[!#$&'*+.^_`|~0-9a-z-]+(\?:?[!#$&'*+.^_`|~0-9a-z-]+)?$/i.test(argument!))
    throw bad(text, `%${name}(${argument})% names no header`)
  if (rule === 'time?' && argument !== undefined && argument.replace(TIME, '').includes('%'))
    throw bad(text, `%${name}(${argument})% has a time specifier that is not known here`)
  return {
    name: name as OperatorName,
    argument: argument ?? '',
    maxLength: maxLength === undefined ? Number.POSITIVE_INFINITY : Number(maxLength),
  }
}

function bad(text: string, reason: string): InmeshError {
  return new InmeshError('ERR_INMESH_INVALID_OPTION', `${JSON.stringify(text)} is not a format: ${reason}`)
}

const two = (n: number) => String(n).padStart(2, '0')
const days = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** @param ms since 1970 @param pattern strftime with %f and %1f to %9f for fractions, in UTC; '' = ISO 8601 with ms, as Envoy has it */
export function formatTime(ms: number, pattern: string): string {
  const date = new Date(ms)
  if (pattern === '') return date.toISOString()
  return pattern.replace(TIME, (specifier) => {
    switch (specifier.at(-1)) {
      case 'Y':
        return String(date.getUTCFullYear())
      case 'y':
        return two(date.getUTCFullYear() % 100)
      case 'm':
        return two(date.getUTCMonth() + 1)
      case 'b':
        return months[date.getUTCMonth()]!
      case 'd':
        return two(date.getUTCDate())
      case 'e':
        return String(date.getUTCDate()).padStart(2)
      case 'a':
        return days[date.getUTCDay()]!
      case 'j':
        return String(Math.floor((ms - Date.UTC(date.getUTCFullYear(), 0)) / 86_400_000) + 1).padStart(3, '0')
      case 'H':
        return two(date.getUTCHours())
      case 'M':
        return two(date.getUTCMinutes())
      case 'S':
        return two(date.getUTCSeconds())
      case 's':
        return String(Math.floor(ms / 1_000))
      case 'T':
        return date.toISOString().slice(11, 19)
      case 'F':
        return date.toISOString().slice(0, 10)
      case 'z':
        return '+0000'
      case 'Z':
        return 'UTC'
      case 'f': {
        const digits = specifier.length === 3 ? Number(specifier[1]) : 9
        return String(Math.floor((ms % 1_000) * 1_000_000))
          .padStart(9, '0')
          .slice(0, digits)
      }
      default:
        return '%'
    }
  })
}
