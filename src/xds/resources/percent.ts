import {
  FractionalPercent_DenominatorType as Denominator,
  type FractionalPercent,
} from '../../gen/envoy/type/v3/percent_pb.js'
import type { Field } from './field.ts'

const scale: Readonly<Record<number, number>> = {
  [Denominator.HUNDRED]: 10_000,
  [Denominator.TEN_THOUSAND]: 100,
  [Denominator.MILLION]: 1,
}

/** envoy.type.v3.FractionalPercent in millionths, at most all of them. */
export function perMillion(field: Field, fraction: FractionalPercent): number {
  const factor = scale[fraction.denominator]
  if (factor === undefined) return field.at('denominator').fail(`${fraction.denominator} is not a known value`)
  return Math.min(fraction.numerator * factor, 1_000_000)
}

/** A percentage from 0 to 100. */
export function percent(field: Field, value: number): number {
  if (!(value >= 0 && value <= 100)) field.fail(`must be between 0 and 100, is ${value}`)
  return value
}
