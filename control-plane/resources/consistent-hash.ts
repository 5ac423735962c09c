import * as z from 'zod'
import { duration, headerName, uint32 } from './fields.ts'
import type { Report } from './kind.ts'

/** Envoy takes no larger Maglev table. */
const largestTable = 5_000_011
/** Nor a larger ring. */
const largestRing = 8_388_608

const httpCookie = z.strictObject({
  name: z
    .string()
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'is not a cookie name')
    .describe('Name of the cookie.'),
  path: z.string().optional().describe('Path of a cookie that is made here. Default: none.'),
  ttl: duration(0)
    .optional()
    .describe(
      'Lifetime of a cookie that is made here when the request has none; 0s = a session cookie. Absent = never.',
    ),
})

/** Istio's ConsistentHashLB: calls with an equal key go to the same host as long as the hosts stay. */
export const consistentHash = z.strictObject({
  httpHeaderName: headerName.optional().describe('The key is the value of this header.'),
  httpCookie: httpCookie.optional().describe('The key is the value of this cookie.'),
  useSourceIp: z.literal(true, 'must be true or left out').optional().describe('The key is the address of the caller.'),
  httpQueryParameterName: z.string().min(1).optional().describe('The key is the first value of this query parameter.'),
  ringHash: z
    .strictObject({ minimumRingSize: uint32.default(1024).describe('Entries of the ring, at least.') })
    .optional()
    .describe('Ketama ring; the default algorithm.'),
  maglev: z
    .strictObject({ tableSize: uint32.default(65_537).describe('Entries of the table; a prime number.') })
    .optional()
    .describe('Maglev table: faster to build than a ring, moves a little more keys when hosts change.'),
  minimumRingSize: uint32.optional().describe('Older spelling of ringHash.minimumRingSize.'),
})

export type ConsistentHash = z.output<typeof consistentHash>

/** What Istio refuses in it. */
export function checkConsistentHash(hash: ConsistentHash, path: readonly (string | number)[], report: Report): void {
  const keys = (['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'] as const).filter(
    (key) => hash[key] !== undefined,
  )
  if (keys.length !== 1)
    report(
      'error',
      [...path, ...keys.slice(1, 2)],
      `must have exactly one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName, has ${keys.length}`,
    )
  if (hash.maglev !== undefined && (hash.ringHash !== undefined || hash.minimumRingSize !== undefined))
    report('error', [...path, 'maglev'], 'cannot stand beside a ring size')
  if (hash.ringHash !== undefined && hash.minimumRingSize !== undefined)
    report('warning', [...path, 'minimumRingSize'], 'has no effect beside ringHash')
  checkSize(hash.ringHash?.minimumRingSize, [...path, 'ringHash', 'minimumRingSize'], report)
  checkSize(hash.minimumRingSize, [...path, 'minimumRingSize'], report)
  const table = hash.maglev?.tableSize
  if (table === undefined) return
  const at = [...path, 'maglev', 'tableSize']
  if (table > largestTable) report('error', at, `must be at most ${largestTable}`)
  else if (!isPrime(table)) report('error', at, `${table} is not a prime number (like 65537)`)
}

function checkSize(size: number | undefined, path: (string | number)[], report: Report): void {
  if (size !== undefined && size > largestRing) report('error', path, `must be at most ${largestRing}`)
}

/** For numbers up to some millions. */
export function isPrime(number: number): boolean {
  if (number < 2) return false
  for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) return false
  return true
}
