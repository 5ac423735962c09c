import { mkdtempSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DemoError } from './demo-error.ts'

/** @throws DemoError when this Node cannot run the demo */
export function checkNode(version: string): void {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  if (major < 22 || (major === 22 && minor < 19))
    throw new DemoError(`Node ${version} is too old: inmesh needs 22.19 or newer ("npm run demo" brings its own)`)
}

/** @throws DemoError when there is nowhere to write to */
export function temporaryDirectory(): string {
  try {
    return mkdtempSync(join(tmpdir(), 'inmesh-shop-'))
  } catch (error) {
    throw new DemoError(`cannot write to ${tmpdir()} (${(error as NodeJS.ErrnoException).code}): set TMPDIR`)
  }
}

/**
 * A port of 127.0.0.1 that can be listened on.
 * @param wanted 0 = any
 * @throws DemoError when it is in use or may not be used
 */
export function usablePort(wanted: number, what: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (error: NodeJS.ErrnoException) => {
      const why =
        error.code === 'EADDRINUSE' ? 'is in use' : error.code === 'EACCES' ? 'needs permission' : error.message
      reject(new DemoError(`port ${wanted} for ${what} ${why}: choose another with --port`))
    })
    probe.listen(wanted, '127.0.0.1', () => {
      const address = probe.address()
      const port = typeof address === 'object' && address !== null ? address.port : 0
      probe.close(() => resolve(port))
    })
  })
}
