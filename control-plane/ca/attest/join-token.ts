import { randomUUID } from 'node:crypto'
import { InmeshError } from '../../../src/errors.ts'
import { newJoinToken, parseJoinToken } from '../../../src/identity/join-token.ts'
import { workloadSpiffeId } from '../../../src/identity/spiffe-id.ts'
import type { Store } from '../../store/store.ts'
import type { Authority } from '../authority.ts'
import { IssueError } from '../issue-error.ts'
import type { Attestor } from './attestor.ts'
import { RateWindow } from './rate-window.ts'

/** Wrong tokens per address and minute before the address has to wait. */
const FAILURES_PER_MINUTE = 5
export const DEFAULT_TOKEN_TTL_MS = 10 * 60_000

export interface TokenRequest {
  readonly service: string
  readonly namespace: string
  readonly serviceAccount: string
  /** ms; default 10 minutes. */
  readonly ttlMs?: number | undefined
}

/**
 * Makes a join token for one workload; the store keeps only the hash of its secret, so the text is shown once.
 *
 * @throws InmeshError ERR_INMESH_INVALID_OPTION when namespace or service account cannot stand in a SPIFFE id
 */
export async function mintJoinToken(
  store: Pick<Store, 'tokens'>,
  authority: Authority,
  request: TokenRequest,
): Promise<{ id: string; text: string; spiffeId: string; expiresAt: number }> {
  const { service, namespace, serviceAccount } = request
  const spiffeId = workloadSpiffeId(authority.trustDomain, namespace, serviceAccount)
  if ('failure' in spiffeId) throw new InmeshError('ERR_INMESH_INVALID_OPTION', spiffeId.message)
  const token = newJoinToken(authority.rootDer)
  const createdAt = authority.now()
  const expiresAt = createdAt + (request.ttlMs ?? DEFAULT_TOKEN_TTL_MS)
  const id = randomUUID()
  const { secretHash } = token
  await store.tokens.create({ id, secretHash, service, namespace, serviceAccount, createdAt, expiresAt, usedAt: null })
  return { id, text: token.text, spiffeId: spiffeId.text, expiresAt }
}

/** Proof of a new workload: a token that somebody with the right to do so made for it. Good for one certificate. */
export function joinTokenAttestor(authority: Authority, store: Pick<Store, 'tokens'>): Attestor {
  const failures = new RateWindow(FAILURES_PER_MINUTE)
  return {
    name: 'join-token',
    handles: (proof) => proof.joinToken !== '',
    async attest({ joinToken, remoteAddress }) {
      const now = authority.now()
      if (failures.exhausted(remoteAddress, now)) {
        throw new IssueError('RESOURCE_EXHAUSTED', 'too many wrong join tokens from this address; wait a minute')
      }
      const refuse = (why: string): IssueError => {
        failures.add(remoteAddress, now)
        return new IssueError('UNAUTHENTICATED', why)
      }
      const token = parseJoinToken(joinToken)
      if ('failure' in token) throw refuse(token.message)
      if (token.rootSha256 !== authority.rootSha256) throw refuse('join token is of another mesh')
      const record = await store.tokens.consume(token.secretHash, now)
      if (record === 'unknown') throw refuse('join token is not known')
      if (record === 'used') throw refuse('join token was used before; each is good for one certificate')
      if (record === 'expired') throw refuse('join token has expired; make a new one')
      const spiffeId = workloadSpiffeId(authority.trustDomain, record.namespace, record.serviceAccount)
      if ('failure' in spiffeId) throw refuse(spiffeId.message)
      return { spiffeId, service: record.service, requester: `join-token:${record.id}` }
    },
  }
}
