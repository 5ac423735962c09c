/** Writes docs/reference; a test fails while what is there is not what this would write. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { referencePages } from './reference.ts'

const out = join(import.meta.dirname, '../docs/reference')
rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
for (const [name, text] of referencePages()) writeFileSync(join(out, name), text)
