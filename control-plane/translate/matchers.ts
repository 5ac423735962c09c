import type { MessageInitShape } from '@bufbuild/protobuf'
import type { HeaderMatcherSchema } from '../../src/gen/envoy/config/route/v3/route_components_pb.js'
import type { StringMatcherSchema } from '../../src/gen/envoy/type/matcher/v3/string_pb.js'
import type { StringMatch } from '../../src/model/match.ts'
import { wholeRegex } from '../resources/patterns.ts'
import type { HeaderCondition } from './class.ts'

type StringMatcherInit = MessageInitShape<typeof StringMatcherSchema>

export function stringMatcher(match: StringMatch): StringMatcherInit {
  if (match.kind === 'regex') return { matchPattern: { case: 'safeRegex', value: { regex: wholeRegex(match.value) } } }
  return { matchPattern: { case: match.kind, value: match.value }, ignoreCase: match.ignoreCase }
}

export function headerMatcher(condition: HeaderCondition): MessageInitShape<typeof HeaderMatcherSchema> {
  const { name, kind } = condition
  if (kind === 'present' || kind === 'absent')
    // Inverted presence, not present_match: false, which grpc-js-xds takes for true.
    return { name, headerMatchSpecifier: { case: 'presentMatch', value: true }, invertMatch: kind === 'absent' }
  return {
    name,
    headerMatchSpecifier: { case: 'stringMatch', value: stringMatcher(condition.match!) },
    invertMatch: kind === 'differs',
    treatMissingHeaderAsEmpty: kind === 'differs' && condition.absentMatches === true,
  }
}
