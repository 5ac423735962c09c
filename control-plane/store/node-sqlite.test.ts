import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

describe('nodeSqlite', () => {
  it('loads node:sqlite without a warning and lets other warnings through', () => {
    const module = JSON.stringify(join(import.meta.dirname, 'node-sqlite.ts'))
    const script = `
      const before = process.emitWarning
      const { nodeSqlite } = await import(${module})
      new (nodeSqlite().DatabaseSync)(':memory:').close()
      if (process.emitWarning !== before) throw new Error('emitWarning was not put back')
      process.emitWarning('something else')
    `
    const { stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' })
    expect(status).toBe(0)
    expect(stderr).not.toMatch(/SQLite/)
    expect(stderr).toMatch(/something else/)
  })
})
