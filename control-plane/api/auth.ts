import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import type { MiddlewareHandler } from 'hono'
import { loadOrCreateSecret } from '../ca/secret-file.ts'
import { problem } from './problem.ts'

export function adminTokenPath(dataDir: string): string {
  return join(dataDir, 'admin-token')
}

/** The admin token of a data directory, mode 0600; made on first use. */
export async function loadAdminToken(dataDir: string): Promise<string> {
  return (await loadOrCreateSecret(adminTokenPath(dataDir), () => `${randomBytes(32).toString('base64url')}\n`)).trim()
}

/** Lets requests with `Authorization: Bearer <token>` pass. */
export function requireToken(token: string): MiddlewareHandler {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(token)
  return async (c, next) => {
    const given = /^Bearer +(\S+)$/i.exec(c.req.header('authorization') ?? '')?.[1]
    // Digests are of one length, so that the comparison tells nothing about the token.
    if (given === undefined || !timingSafeEqual(digest(given), expected)) {
      const response = problem(
        401,
        'Unauthorized',
        'the admin API needs its bearer token: see admin-token in the data directory',
      )
      response.headers.set('www-authenticate', 'Bearer')
      return response
    }
    await next()
    return undefined
  }
}

/** Refuses names that somebody else's DNS could point here (DNS rebinding); addresses and own names pass. */
export function allowHosts(bound: string): MiddlewareHandler {
  const names = new Set(['localhost', hostname().toLowerCase(), bound.toLowerCase()])
  return async (c, next) => {
    const header = (c.req.header('host') ?? '').toLowerCase()
    const host = /^(?:\[([0-9a-f:.]+)\]|([^:]*))(?::\d{1,5})?$/.exec(header)
    const name = host?.[1] ?? host?.[2] ?? ''
    if (isIP(name) === 0 && !names.has(name)) return problem(421, 'Misdirected Request', `this server is not "${name}"`)
    await next()
    return undefined
  }
}
