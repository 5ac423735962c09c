import type { ConfigSource } from '../../gen/envoy/config/core/v3/config_source_pb.js'
import type { Field } from './field.ts'

/** A reference to another resource must lead back to this stream: `ads` or `self` (gRFC A27). */
export function requireAds(field: Field, source: ConfigSource | undefined): void {
  const specifier = source?.configSourceSpecifier.case
  if (specifier !== 'ads' && specifier !== 'self')
    field.fail(`must be ads or self, is ${specifier === undefined ? 'missing' : snake(specifier)}`)
}

/** A oneof case of the generated code in its proto spelling. */
export function snake(camel: string): string {
  return camel.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)
}
