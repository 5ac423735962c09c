/** What ends with the process. */
export interface Stoppable {
  close(): Promise<void>
}

/** Exit codes of what a signal ended, as shells have them. */
const codes: Readonly<Partial<Record<NodeJS.Signals, number>>> = { SIGTERM: 143, SIGINT: 130 }

const members = new Set<Stoppable>()
let stopping = false

/**
 * From now on SIGTERM and SIGINT end this process gracefully: all members are closed, then it exits, with 0 (SIGINT: 130).
 * A second signal ends it at once. An app with a listener of its own for the signal decides for itself: nothing is done
 * then. Listeners of the package signal-exit, which only watch, do not count.
 * @returns takes the member out again
 */
export function closeOnSignals(member: Stoppable): () => void {
  if (members.size === 0) {
    // First, so that listeners which remove themselves are still there to be seen.
    process.prependListener('SIGTERM', onSignal)
    process.prependListener('SIGINT', onSignal)
  }
  members.add(member)
  return () => {
    if (!members.delete(member) || members.size > 0 || stopping) return
    process.off('SIGTERM', onSignal)
    process.off('SIGINT', onSignal)
  }
}

function onSignal(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1 + watchers()) return
  if (stopping) process.exit(codes[signal])
  stopping = true
  void Promise.allSettled([...members].map((member) => member.close())).then(() =>
    process.exit(signal === 'SIGTERM' ? 0 : codes[signal]),
  )
}

/** How many listeners per signal signal-exit has (versions 3 and 4). */
function watchers(): number {
  const v3 = (process as { __signal_exit_emitter__?: { count?: number } }).__signal_exit_emitter__
  const v4 = (globalThis as { [key: symbol]: { count?: number } | undefined })[Symbol.for('signal-exit emitter')]
  return (v3?.count ?? 0) + (v4?.count ?? 0)
}
