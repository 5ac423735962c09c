import { describe, expect, it } from 'vitest'
import { joinSources } from './source-files.ts'

describe('several files as one text', () => {
  const files = [
    { name: 'a.yaml', text: 'a: 1\na2: 1\n' },
    { name: 'b.json', text: '{}' },
    { name: 'c.yaml', text: 'c: 1\n\n---\nd: 1' },
  ]
  const { text, place } = joinSources(files)

  it.each(files.flatMap(({ name, text: t }) => t.split('\n').map((content, i) => ({ name, content, line: i + 1 }))))(
    'line $line of $name is found again',
    ({ name, content, line }) => {
      const found = text
        .split('\n')
        .map((l, i) => ({ l, place: place({ severity: 'error', message: '', line: i + 1 }) }))
        .find((x) => x.place.file === name && x.place.line === line)
      expect(found?.l).toBe(content)
    },
  )

  it('problems without a line have a file when there is only one', () => {
    const problem = { severity: 'error', message: 'm' } as const
    expect(place(problem)).toEqual(problem)
    expect(joinSources([{ name: 'only', text: '' }]).place(problem)).toEqual({ ...problem, file: 'only' })
  })
})
