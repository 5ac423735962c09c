import type { LbSpec } from '../../model/cluster.ts'
import type { Field } from './field.ts'

/** Envoy's largest ring and Maglev table. */
const LARGEST_RING = 8_388_608
const LARGEST_TABLE = 5_000_011

export interface HashingInit {
  readonly useHostnameForHashing: boolean
  readonly hashBalanceFactor?: number | undefined
}

/** What ring and Maglev have in common. */
export interface Hashing {
  readonly useHostname: boolean
  /** 0 = off. */
  readonly balanceFactorPercent: number
}

/** Envoy's ConsistentHashingLbConfig; a balance factor is at least 100. */
export function hashing(field: Field, config: HashingInit | undefined): Hashing {
  const factor = config?.hashBalanceFactor ?? 0
  if (factor !== 0 && factor < 100) field.at('hash_balance_factor').fail(`must be at least 100, is ${factor}`)
  return { useHostname: config?.useHostnameForHashing ?? false, balanceFactorPercent: factor }
}

/** At least 1024 entries when nothing is said, at most 8,388,608 (Envoy, gRFC A42). */
export function ringHash(
  field: Field,
  minimum: bigint | undefined,
  maximum: bigint | undefined,
  isMurmur: boolean,
  consistent: Hashing,
): LbSpec {
  const most = size(field.at('maximum_ring_size'), maximum, LARGEST_RING)
  const least = size(field.at('minimum_ring_size'), minimum, Math.min(1024, most))
  if (least > most) field.at('minimum_ring_size').fail(`${least} is more than the maximum_ring_size ${most}`)
  return {
    policy: 'RING_HASH',
    minimumRingSize: least,
    maximumRingSize: most,
    hashFunction: isMurmur ? 'MURMUR_HASH_2' : 'XX_HASH',
    ...consistent,
  }
}

/** A prime, 65,537 when nothing is said, at most 5,000,011 (Envoy). */
export function maglev(field: Field, tableSize: bigint | undefined, consistent: Hashing): LbSpec {
  const table = Number(tableSize ?? 65_537n)
  const at = field.at('table_size')
  if (table > LARGEST_TABLE) at.fail(`must be at most ${LARGEST_TABLE}, is ${table}`)
  if (!isPrime(table)) at.fail(`must be a prime number, is ${table}`)
  return { policy: 'MAGLEV', tableSize: table, ...consistent }
}

function size(field: Field, value: bigint | undefined, absent: number): number {
  if (value === undefined) return absent
  const entries = Number(value)
  if (entries < 1 || entries > LARGEST_RING) field.fail(`must be between 1 and ${LARGEST_RING}, is ${value}`)
  return entries
}

function isPrime(number: number): boolean {
  if (number < 2) return false
  for (let divisor = 2; divisor * divisor <= number; divisor++) if (number % divisor === 0) return false
  return true
}
