import { InmeshError } from '../../src/errors.ts'

/** Ends a command with this text on stderr (`message` may have several lines) and this exit code. */
export class Failure extends Error {
  readonly exitCode: number
  constructor(message: string, exitCode = 1) {
    super(message)
    this.name = 'Failure'
    this.exitCode = exitCode
  }
}

/** What went wrong, in one line and without a stack. */
export function explain(error: unknown): string {
  if (error instanceof Failure || error instanceof InmeshError) return error.message
  if (!(error instanceof Error)) return String(error)
  const { code, address, port, path } = error as NodeJS.ErrnoException & { address?: string; port?: number }
  const place = port === undefined ? (path ?? '') : `${address ?? ''}:${port}`
  if (code === 'EADDRINUSE') return `${place} is in use by another process: stop it, or choose another address`
  if (code === 'EADDRNOTAVAIL') return `${place} is not an address of this machine`
  if (code === 'EACCES' || code === 'EPERM')
    return port === undefined ? `no permission for ${place}` : `no permission to listen on ${place}`
  const inUse = /EADDRINUSE: address already in use ([^\s\]]+)/.exec(error.message)?.[1]
  if (inUse !== undefined) return `${inUse} is in use by another process: stop it, or choose another address`
  return error.message
}
