import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { referencePages } from './reference.ts'

const folder = join(import.meta.dirname, '../docs/reference')

it('docs/reference is what the schemas say; else run `node scripts/emit-reference.ts`', () => {
  const pages = referencePages()
  expect(readdirSync(folder).sort()).toEqual([...pages.keys()].sort())
  for (const [name, text] of pages) expect(readFileSync(join(folder, name), 'utf8'), name).toBe(text)
})
