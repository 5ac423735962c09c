/**
 * A shop of nine processes and a control plane, walked through ten steps. `npm run demo`; flags: `--check` exits with 0 or
 * 1 after the table, `--port N` is frontend's port (default 8080, with --check a free one), `--only 4,6` walks some steps.
 */
import { rmSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { killAll } from './lib/child.ts'
import { DemoError } from './lib/demo-error.ts'
import { checkNode, temporaryDirectory } from './lib/preflight.ts'

/** What is running and must be ended, whatever happens. */
let close: () => Promise<void> = async () => undefined
let directory = ''
let ending = false

async function end(status: number): Promise<never> {
  if (!ending) {
    ending = true
    await close().catch(() => undefined)
  }
  process.exit(status)
}

process.on('exit', () => {
  killAll()
  if (directory !== '') rmSync(directory, { recursive: true, force: true })
})
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => void end(130))
process.on('uncaughtException', (error) => {
  console.error(error instanceof DemoError ? error.message : error)
  void end(1)
})

try {
  checkNode(process.version)
  const { values } = parseArgs({
    options: { check: { type: 'boolean', default: false }, port: { type: 'string' }, only: { type: 'string' } },
  })
  directory = temporaryDirectory()
  // Not earlier: on an old Node the imports themselves would fail, and not with one clear line.
  const { Shop } = await import('./lib/shop.ts')
  const { walk } = await import('./lib/walk.ts')
  const { invite } = await import('./lib/invite.ts')
  const shop = await Shop.plan(directory, Number(values.port ?? (values.check ? 0 : 8080)))
  close = () => shop.close()
  const passed = await walk(shop, values.only?.split(',').map(Number))
  if (values.check || !passed) await end(passed ? 0 : 1)
  console.log(invite(shop))
} catch (error) {
  console.error(error instanceof DemoError ? error.message : error)
  await end(1)
}
