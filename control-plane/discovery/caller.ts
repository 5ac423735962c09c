import type { ConnectionIdentity } from './client-view.ts'

/** Who is at the other end of a call, as the connection says. */
export type Caller =
  | { readonly kind: 'mesh'; readonly identity: ConnectionIdentity; readonly address: string }
  /** TLS without a client certificate: may call the certificate authority and nothing else. */
  | { readonly kind: 'anonymous'; readonly address: string }
  /** The plaintext development port. */
  | { readonly kind: 'insecure'; readonly address: string }

/** What limits and logs count by: the identity, or the address without the port. */
export function callerKey(caller: Caller): string {
  return caller.kind === 'mesh' ? caller.identity.peer.spiffeId : caller.address.replace(/:\d+$/, '')
}

/** Counts what each key holds at once. */
export class Quota {
  readonly #limit: number
  readonly #held = new Map<string, number>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** The function that gives it back (once), or undefined when the key holds its limit. */
  take(key: string): (() => void) | undefined {
    const held = this.#held.get(key) ?? 0
    if (held >= this.#limit) return undefined
    this.#held.set(key, held + 1)
    let given = false
    return () => {
      if (given) return
      given = true
      const left = this.#held.get(key)! - 1
      if (left === 0) this.#held.delete(key)
      else this.#held.set(key, left)
    }
  }
}
