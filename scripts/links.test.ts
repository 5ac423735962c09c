import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '..')
const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((file) => `docs/${file}`)
const top = readdirSync(root).filter((file) => file.endsWith('.md'))

it.each([...top, ...docs].filter((file) => file.endsWith('.md')))('%s links to files that exist', (file) => {
  const text = readFileSync(join(root, file), 'utf8').replace(/```[\s\S]*?```/g, '')
  const missing = [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
    .map(([, link]) => link!)
    .filter((link) => !/^[a-z]+:/.test(link) && !existsSync(join(root, dirname(file), link)))
  expect(missing).toEqual([])
})

it('docs/README.md lists every page; those of docs/reference have a list of their own', () => {
  const listed = new Set(
    [...readFileSync(join(root, 'docs/README.md'), 'utf8').matchAll(/\]\(([^)]+)\)/g)].map(([, to]) => to),
  )
  const pages = docs.filter((file) => file.endsWith('.md')).map((file) => file.slice('docs/'.length))
  const own = pages.filter(
    (page) => page !== 'README.md' && (!page.startsWith('reference/') || page.endsWith('/README.md')),
  )
  expect(own.filter((page) => !listed.has(page))).toEqual([])
})
