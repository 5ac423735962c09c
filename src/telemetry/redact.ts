import { KeyObject } from 'node:crypto'

const HIDDEN = '[redacted]'
/** Names whose values are secrets, however they are spelt: joinToken, private_key, client-secret. */
const secretName =
  /(token|secret|password|passphrase|credential|authorization|cookie|(^|private|signing|tls|api)[-_]?key)(pem|der|file)?s?$/i
const secretText = /-----BEGIN [A-Z ]*PRIVATE KEY-----|\binmesh1\.[\w-]+\./

/** Whether a header, parameter or field of this name holds a secret. */
export function isSecretName(name: string): boolean {
  return secretName.test(name)
}

/**
 * A copy of `value` that can be shown: plain JSON without keys, tokens and the like. Maps become objects, sets arrays,
 * bytes their length. Says `[circular]` where an object contains itself.
 */
export function redact(value: unknown): unknown {
  return copy(value, [])
}

function copy(value: unknown, above: readonly object[]): unknown {
  if (typeof value === 'string') return secretText.test(value) ? HIDDEN : value
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null) return value
  if (above.includes(value)) return '[circular]'
  if (value instanceof KeyObject) return HIDDEN
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Error) return copy(value.message, above)
  const path = [...above, value]
  if (Array.isArray(value)) return value.map((item) => copy(item, path))
  if (value instanceof Set) return Array.from(value, (item) => copy(item, path))
  const entries = value instanceof Map ? [...value.entries()] : Object.entries(value)
  return Object.fromEntries(
    entries.map(([name, item]) => [
      String(name),
      secretName.test(String(name)) && item !== null ? HIDDEN : copy(item, path),
    ]),
  )
}
