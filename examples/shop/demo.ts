/**
 * A shop of nine processes and a control plane, walked through ten steps. `npm run demo`; flags: `--check` exits with 0 or
 * 1 after the table, `--port N` is frontend's port (default 8080, with --check a free one), `--only 4,6` walks some steps.
 */
import { rmSync } from 'node:fs'
import { killAll } from './lib/child.ts'
import { DemoError } from './lib/demo-error.ts'
import { readFlags } from './lib/flags.ts'
import { checkNode, temporaryDirectory } from './lib/preflight.ts'

/** What is running and must be ended, whatever happens. */
let close: () => Promise<void> = async () => undefined
let directory = ''
let ending: Promise<never> | null = null

/** Ends everything, then this process. The first status counts. */
function end(status: number): Promise<never> {
  ending ??= close()
    // What does not end by itself is killed when this process exits.
    .catch(() => undefined)
    .then(() => process.exit(status))
  return ending
}

/** Says why in one line where that is all there is to say. What breaks because we are ending is no news. */
function fail(error: unknown): Promise<never> {
  if (ending === null) console.error(error instanceof DemoError ? error.message : error)
  return end(1)
}

process.on('exit', () => {
  killAll()
  if (directory !== '') rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(130))
process.on('uncaughtException', (error) => void fail(error))

try {
  checkNode(process.version)
  const flags = readFlags(process.argv.slice(2))
  directory = temporaryDirectory()
  // Not earlier: on an old Node the imports themselves would fail, and not with one clear line.
  const { Shop } = await import('./lib/shop.ts')
  const { walk } = await import('./lib/walk.ts')
  const { invite } = await import('./lib/invite.ts')
  const shop = await Shop.plan(directory, flags.port)
  close = () => shop.close()
  const passed = await walk(shop, flags.only)
  if (flags.check || !passed) await end(passed ? 0 : 1)
  console.log(invite(shop))
} catch (error) {
  await fail(error)
}
