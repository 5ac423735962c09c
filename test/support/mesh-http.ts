/** Identities, policies and raw requests for tests of the HTTP data plane. */
import { connect, type Socket } from 'node:net'
import { IdentityState } from '../../src/identity/identity-state.ts'
import { type WorkloadIdentity, workloadIdentity } from '../../src/identity/workload-identity.ts'
import type { TestCa, TestLeafOptions } from './test-ca.ts'

export function spiffe(ca: TestCa, serviceAccount: string): string {
  return `spiffe://${ca.trustDomain}/ns/default/sa/${serviceAccount}`
}

/** A fresh certificate for a service account of namespace default. */
export function issueIdentity(ca: TestCa, serviceAccount: string, options?: TestLeafOptions): WorkloadIdentity {
  const leaf = ca.issue(spiffe(ca, serviceAccount), options)
  return workloadIdentity([leaf.certDer], leaf.key)
}

/** What a workload of that service account shows, trusting the authority that issued it. */
export function identityOf(ca: TestCa, serviceAccount: string, options?: TestLeafOptions): IdentityState {
  const state = new IdentityState({ trustDomain: ca.trustDomain })
  state.updateBundles(ca.bundles)
  state.update(issueIdentity(ca, serviceAccount, options))
  return state
}

/** Writes bytes to a port and reads until the other side ends, resets or `ms` passed. */
export function rawExchange(port: number, bytes: string | Uint8Array, ms = 2_000): Promise<RawAnswer> {
  return new Promise((resolve) => {
    const socket: Socket = connect(port, '127.0.0.1')
    let text = ''
    let error: string | null = null
    const timer = setTimeout(() => finish('timeout'), ms)
    const finish = (how: RawAnswer['end']) => {
      clearTimeout(timer)
      socket.destroy()
      resolve({ text, error, end: how })
    }
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      text += chunk
    })
    socket.on('error', (e: NodeJS.ErrnoException) => {
      error = e.code ?? e.message
    })
    socket.on('close', () => finish('closed'))
    socket.write(bytes)
  })
}

export interface RawAnswer {
  text: string
  error: string | null
  end: 'closed' | 'timeout'
}

/** Waits until `condition` holds; for what no event announces. Fails after `ms`. */
export async function until(condition: () => boolean, ms = 15_000): Promise<void> {
  const end = performance.now() + ms
  while (!condition()) {
    if (performance.now() > end) throw new Error(`not within ${ms} ms: ${condition.toString()}`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}
