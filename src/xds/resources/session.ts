import {
  type StatefulSession,
  type StatefulSessionPerRoute,
  StatefulSessionSchema,
} from '../../gen/envoy/extensions/filters/http/stateful_session/v3/stateful_session_pb.js'
import { CookieBasedSessionStateSchema } from '../../gen/envoy/extensions/http/stateful_session/cookie/v3/cookie_pb.js'
import type { SessionSpec } from '../../model/route.ts'
import { unpack } from './any.ts'
import { durationMs } from './duration.ts'
import { type Field, names } from './field.ts'

/** gRFC A55: only cookies are known; without session_state the filter does nothing (null). */
export function sessionSpec(field: Field, message: StatefulSession): SessionSpec | null {
  field.onlyReads(StatefulSessionSchema, message, names('session_state'))
  if (message.sessionState === undefined) return null
  const at = field.at('session_state.typed_config')
  const { cookie } = unpack(at, message.sessionState.typedConfig, CookieBasedSessionStateSchema)
  if (cookie === undefined) return at.at('cookie').fail('is missing')
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(cookie.name))
    at.at('cookie.name').fail(`"${cookie.name}" is not a name of a cookie`)
  if (!/^[ -:<-~]*$/.test(cookie.path)) at.at('cookie.path').fail('has characters that no path of a cookie has')
  return { cookie: cookie.name, ttlMs: durationMs(at.at('cookie.ttl'), cookie.ttl, 0), path: cookie.path }
}

/** What one level says instead; null = off. */
export function sessionPerRoute(field: Field, { override }: StatefulSessionPerRoute): SessionSpec | null {
  switch (override.case) {
    case 'disabled':
      return null
    case 'statefulSession':
      return sessionSpec(field.at('stateful_session'), override.value)
    case undefined:
      return field.fail('needs disabled or stateful_session')
  }
}
