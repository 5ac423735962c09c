import { generateKeyPairSync } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { redact } from './redact.ts'

describe('redact', () => {
  it('hides what is named as a secret, however it is spelt and however deep', () => {
    const shown = JSON.stringify(
      redact({
        joinToken: 'a1',
        private_key: 'a2',
        clientSecret: 'a3',
        list: [new Map([['api-key', 'a4']]), { deep: { key: 'a5', 'proxy-authorization': 'a6', keyPem: 'a7' } }],
      }),
    )
    for (const secret of ['a1', 'a2', 'a3', 'a4', 'a5', 'a6', 'a7']) expect(shown).not.toContain(secret)
  })

  it('hides keys and join tokens wherever they stand', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    const shown = JSON.stringify(redact({ a: privateKey, note: `see ${pem}`, b: ['inmesh1.c2VjcmV0.abcdef'] }))
    expect(shown).toBe('{"a":"[redacted]","note":"[redacted]","b":["[redacted]"]}')
  })

  it('keeps what is no secret, as plain JSON', () => {
    const cluster = {
      name: 'c',
      endpoints: [{ port: 1, labels: new Map([['app', 'x']]) }],
      timeoutMs: Number.POSITIVE_INFINITY,
    }
    const value = { kind: 'k', absent: new Set(['z']), root: new Uint8Array(3), none: null, at: new Date(0), cluster }
    expect(redact(value)).toEqual({
      kind: 'k',
      absent: ['z'],
      root: '[3 bytes]',
      none: null,
      at: '1970-01-01T00:00:00.000Z',
      cluster: { name: 'c', endpoints: [{ port: 1, labels: { app: 'x' } }], timeoutMs: 'Infinity' },
    })
  })

  it('ends at an object that contains itself', () => {
    const loop: Record<string, unknown> = { name: 'loop' }
    loop.self = loop
    expect(redact(loop)).toEqual({ name: 'loop', self: '[circular]' })
  })
})
