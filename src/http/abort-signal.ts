import type { ServerResponse } from 'node:http'
import { InmeshError } from '../errors.ts'

const signals = new WeakMap<ServerResponse, AbortSignal>()

/**
 * Aborts as soon as nobody waits for this answer any more: its connection closed, or its stream was reset, before the
 * answer was finished. For what a handler does on behalf of its caller:
 *
 *     mesh.createServer(async (req, res) => {
 *       const rows = await db.query(sql, { signal: getAbortSignal(res) })
 *       ...
 */
export function getAbortSignal(response: ServerResponse): AbortSignal {
  const known = signals.get(response)
  if (known !== undefined) return known
  const controller = new AbortController()
  const closed = () => {
    // Over HTTP/2 every answer that is closed says that it is finished.
    if (!response.writableFinished || !response.writableEnded)
      controller.abort(new InmeshError('ERR_INMESH_CLOSED', 'the caller does not wait for the answer any more'))
  }
  if (response.closed || response.destroyed) closed()
  else response.once('close', closed)
  signals.set(response, controller.signal)
  return controller.signal
}
