import type { Duration } from '@bufbuild/protobuf/wkt'
import type { Field } from './field.ts'

/** google.protobuf.Duration in ms; absent = `absent`. Refuses what is negative or out of the range of the type. */
export function durationMs(field: Field, value: Duration | undefined, absent: number): number {
  if (value === undefined) return absent
  const seconds = Number(value.seconds)
  if (seconds < 0 || value.nanos < 0) field.fail('must not be negative')
  if (seconds > 315_576_000_000 || value.nanos > 999_999_999) field.fail('is not a valid duration')
  return seconds * 1000 + value.nanos / 1e6
}

/** As `durationMs`, but refuses 0. */
export function positiveMs(field: Field, value: Duration | undefined, absent: number): number {
  const ms = durationMs(field, value, absent)
  if (ms <= 0) field.fail('must be greater than 0')
  return ms
}

/** As `durationMs`, where both absent and 0 mean "no limit": Infinity. */
export function limitMs(field: Field, value: Duration | undefined): number {
  const ms = durationMs(field, value, 0)
  return ms === 0 ? Number.POSITIVE_INFINITY : ms
}
