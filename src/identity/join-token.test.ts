import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createTestCa } from '../../test/support/test-ca.ts'
import { isFailure } from './identity-failure.ts'
import { newJoinToken, parseJoinToken, sha256Hex } from './join-token.ts'

const { rootDer } = createTestCa('cluster.local')

describe('join token', () => {
  it('is read back as it was made, also with the newline of a file', () => {
    const token = newJoinToken(rootDer)
    expect(token.text).toMatch(/^inmesh1\.[A-Za-z0-9_-]{43}\.[0-9a-f]{64}$/)
    expect(token.rootSha256).toBe(sha256Hex(rootDer))
    expect(parseJoinToken(`  ${token.text}\n`)).toEqual(token)
    expect(newJoinToken(rootDer).secretHash).not.toBe(token.secretHash)
  })

  it('in any other shape is refused, without repeating it', () => {
    const { text } = newJoinToken(rootDer)
    const [prefix, secret, hash] = text.split('.') as [string, string, string]
    const bad = [
      '',
      prefix,
      `${prefix}.${secret}`,
      `${text}.x`,
      `inmesh2.${secret}.${hash}`,
      `${prefix}.${secret.slice(1)}.${hash}`,
      `${prefix}.${secret}=.${hash}`,
      `${prefix}.${secret}.${hash.toUpperCase().replace(/[0-9]/g, 'A')}`,
      `${prefix}.${secret}.${hash.slice(1)}`,
      // 43 characters hold 258 bits: the two left over must not make a second text of the same secret
      `${prefix}.${secret.slice(0, -1)}${secret.endsWith('B') ? 'C' : 'B'}.${hash}`,
    ]
    for (const given of bad) {
      const read = parseJoinToken(given)
      expect(isFailure(read), given).toBe(true)
      expect(JSON.stringify(read)).not.toContain(secret)
    }
    fc.assert(fc.property(fc.string(), (given) => void parseJoinToken(given)))
  })
})
