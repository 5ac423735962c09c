import { IdentityState } from '../../src/identity/identity-state.ts'
import { RenewalSchedule } from '../../src/identity/renewal-schedule.ts'
import type { Random } from '../../src/model/clock.ts'
import type { Logger } from '../../src/model/logger.ts'
import type { Authority } from './authority.ts'

/** The control plane's own certificate, kept fresh. */
export interface ServingIdentity {
  /** Listen for its changes and hand the new context to the server. */
  readonly state: IdentityState
  /** Stops renewing. */
  close(): void
}

/** Longest wait of the timer, ms: a suspended machine notices within this time that a renewal is overdue. */
const LONGEST_WAIT = 60_000

/** Issues the control plane's certificate and renews it at half of its lifetime. */
export async function serveIdentity(
  authority: Authority,
  options: { logger: Logger; random: Random; ttlMs?: number },
): Promise<ServingIdentity> {
  const state = new IdentityState({ trustDomain: authority.trustDomain, now: authority.now })
  const schedule = new RenewalSchedule(options.random)
  const renew = async () => {
    const identity = await authority.ownIdentity(options.ttlMs)
    state.update(identity)
    schedule.obtained(identity)
  }
  state.updateBundles(authority.bundles)
  await renew()
  let closed = false
  let timer: NodeJS.Timeout | undefined
  const arm = () => {
    if (closed) return
    const wait = Math.max(0, Math.min(schedule.due - authority.now(), LONGEST_WAIT))
    timer = setTimeout(() => void tick(), wait).unref()
  }
  const tick = async () => {
    if (authority.now() >= schedule.due) {
      await renew().catch((error: Error) => {
        const urgency = schedule.failed(authority.now())
        options.logger.warn("the control plane's own certificate was not renewed", { error: error.message, urgency })
      })
    }
    arm()
  }
  arm()
  return {
    state,
    close() {
      closed = true
      clearTimeout(timer)
    },
  }
}
