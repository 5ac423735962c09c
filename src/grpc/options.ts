import { compressionAlgorithms } from '@grpc/grpc-js'
import { InmeshError } from '../errors.ts'

const KIND = { int: 'a whole number', text: 'a text' } as const

/** Options of a channel of the mesh, under the names that grpc-js has for them. Others are refused or, where noted, need not be heeded. */
export interface MeshChannelOptions {
  /** Bytes of a message that is sent; -1 = no limit, the default. */
  readonly 'grpc.max_send_message_length'?: number
  /** Bytes of a message that is received, decompressed; -1 = no limit. Default 4 MiB. */
  readonly 'grpc.max_receive_message_length'?: number
  /** How messages are compressed: 0 not at all (the default), 1 deflate, 2 gzip. */
  readonly 'grpc.default_compression_algorithm'?: number
  /** ms without a byte from the peer after which it is asked for a sign of life; at least 1,000. Default never. */
  readonly 'grpc.keepalive_time_ms'?: number
  /** ms that it has to give one. Default 20,000. */
  readonly 'grpc.keepalive_timeout_ms'?: number
  /** 1 = also while no call is under way. Default 0. */
  readonly 'grpc.keepalive_permit_without_calls'?: number
  /** What peers see as authority in place of the name of the service. */
  readonly 'grpc.default_authority'?: string
  /** Before what grpc-js and the mesh say of themselves in user-agent. */
  readonly 'grpc.primary_user_agent'?: string
  /** After it. */
  readonly 'grpc.secondary_user_agent'?: string
}

/** When connections are asked for a sign of life. */
export interface Keepalive {
  /** ms; Infinity = never. */
  readonly timeMs: number
  /** ms. */
  readonly timeoutMs: number
  readonly withoutCalls: boolean
}

export interface ChannelSettings {
  /** Bytes. */
  readonly maxSend: number
  /** Bytes. */
  readonly maxReceive: number
  readonly compression: 'identity' | 'deflate' | 'gzip'
  /** null = as the peer's own answers say: never. */
  readonly keepalive: Keepalive | null
  /** null = the service's name. */
  readonly authority: string | null
  readonly userAgent: string
}

const DEFAULT_RECEIVE = 4 * 1024 * 1024
const MIN_KEEPALIVE_MS = 1_000
const KEEPALIVE_TIMEOUT_MS = 20_000

const numbers = [
  'grpc.max_send_message_length',
  'grpc.max_receive_message_length',
  'grpc.default_compression_algorithm',
  'grpc.keepalive_time_ms',
  'grpc.keepalive_timeout_ms',
  'grpc.keepalive_permit_without_calls',
] as const
const texts = ['grpc.default_authority', 'grpc.primary_user_agent', 'grpc.secondary_user_agent'] as const

const encodings = new Map<number, ChannelSettings['compression']>([
  [compressionAlgorithms.identity, 'identity'],
  [compressionAlgorithms.deflate, 'deflate'],
  [compressionAlgorithms.gzip, 'gzip'],
])

/**
 * Reads the options of a channel. What grpc-js knows and the mesh does by itself (service configs, retries, connections,
 * TLS, proxies) is named in the second part of the answer: it has no effect here, which somebody should be told.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION
 */
export function readOptions(
  options: Readonly<Record<string, unknown>>,
  version: string,
): { settings: ChannelSettings; ignored: readonly string[] } {
  for (const name of numbers) check(options, name, Number.isInteger(options[name]), KIND.int)
  for (const name of texts) check(options, name, typeof options[name] === 'string', KIND.text)
  const known = options as MeshChannelOptions
  const algorithm = known['grpc.default_compression_algorithm'] ?? 0
  const compression = encodings.get(algorithm)
  if (compression === undefined)
    throw invalid('grpc.default_compression_algorithm', algorithm, 'a value of compressionAlgorithms')
  const names = new Set<string>([...numbers, ...texts])
  const agents = [known['grpc.primary_user_agent'], `grpc-node-inmesh/${version}`, known['grpc.secondary_user_agent']]
  return {
    settings: {
      maxSend: limitOf(known['grpc.max_send_message_length'] ?? -1),
      maxReceive: limitOf(known['grpc.max_receive_message_length'] ?? DEFAULT_RECEIVE),
      compression,
      keepalive: keepaliveOf(known),
      authority: known['grpc.default_authority'] ?? null,
      userAgent: agents.filter((part) => part !== undefined && part !== '').join(' '),
    },
    ignored: Object.keys(options).filter((name) => name.startsWith('grpc') && !names.has(name)),
  }
}

function keepaliveOf(options: MeshChannelOptions): Keepalive | null {
  const timeMs = options['grpc.keepalive_time_ms'] ?? -1
  if (timeMs < 0 || timeMs >= 2_147_483_647) return null
  return {
    timeMs: Math.max(timeMs, MIN_KEEPALIVE_MS),
    timeoutMs: options['grpc.keepalive_timeout_ms'] ?? KEEPALIVE_TIMEOUT_MS,
    withoutCalls: options['grpc.keepalive_permit_without_calls'] === 1,
  }
}

function limitOf(bytes: number): number {
  return bytes < 0 ? Number.POSITIVE_INFINITY : bytes
}

function check(options: Readonly<Record<string, unknown>>, name: string, good: boolean, expected: string): void {
  if (options[name] !== undefined && !good) throw invalid(name, options[name], expected)
}

function invalid(name: string, value: unknown, expected: string): InmeshError {
  return new InmeshError('ERR_INMESH_INVALID_OPTION', `${name} is ${JSON.stringify(value)}: expected ${expected}`)
}
