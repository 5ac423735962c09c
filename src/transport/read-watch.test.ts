import type { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { watchReads } from './read-watch.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

describe('the watch over reads', () => {
  it('starts reading again where somebody waits and nothing was read, until it ends', () => {
    const readStart = vi.fn()
    const socket = { bytesRead: 0, _handle: { readStart } }
    let busy = true
    const stop = watchReads(socket as unknown as Socket, () => busy)
    vi.advanceTimersByTime(1_000)
    expect(readStart).not.toHaveBeenCalled()
    socket.bytesRead = 7
    vi.advanceTimersByTime(1_000)
    expect(readStart).not.toHaveBeenCalled()
    vi.advanceTimersByTime(1_000)
    expect(readStart).toHaveBeenCalledTimes(1)
    busy = false
    vi.advanceTimersByTime(5_000)
    expect(readStart).toHaveBeenCalledTimes(1)
    busy = true
    stop()
    vi.advanceTimersByTime(5_000)
    expect(readStart).toHaveBeenCalledTimes(1)
  })

  it('does nothing to a socket that is gone', () => {
    const stop = watchReads({ bytesRead: 0, _handle: null } as unknown as Socket, () => true)
    expect(() => vi.advanceTimersByTime(3_000)).not.toThrow()
    stop()
  })
})
