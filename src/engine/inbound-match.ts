import { compilePath } from '../match/path.ts'
import { compileString } from '../match/string.ts'
import type { InboundMatch } from '../model/inbound.ts'
import { compileHeader, endOfPath } from './compile-match.ts'
import type { InboundRequest } from './inbound-step.ts'

/** What such a rule looks at. */
export type InboundView = Pick<InboundRequest, 'method' | 'authority' | 'path' | 'policyPath' | 'header' | 'peer'>
export type InboundTest = (request: InboundView) => boolean

/**
 * Which requests a rule is about: any of `matches`, all when there are none; null = all. A path counts when the form that
 * policies compare or the form that the app gets fits, so that no other spelling leads around a limit.
 */
export function compileInboundMatches(matches: readonly InboundMatch[]): InboundTest | null {
  if (matches.length === 0) return null
  const tests = matches.map(compileOne)
  return tests.length === 1 ? tests[0]! : (request) => tests.some((test) => test(request))
}

function compileOne(match: InboundMatch): InboundTest {
  const path = match.path === null ? null : compilePath(match.path)
  const methods = match.methods.length === 0 ? null : new Set(match.methods)
  const headers = match.headers.map(compileHeader)
  const principals = match.principals.map(compileString)
  return (request) => {
    if (methods !== null && !methods.has(request.method)) return false
    if (path !== null && !path(request.policyPath) && !path(request.path.slice(0, endOfPath(request.path))))
      return false
    for (const header of headers) if (!header(request)) return false
    if (principals.length === 0) return true
    const id = request.peer?.spiffeId
    return id !== undefined && principals.some((test) => test(id))
  }
}
