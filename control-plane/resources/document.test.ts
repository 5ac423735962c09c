import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { stringify } from 'yaml'
import { parseDocuments } from './document.ts'

const errorsOf = (text: string) => parseDocuments(text, 'f.yaml').problems.filter((p) => p.severity === 'error')

describe('parseDocuments', () => {
  it('reads several documents, JSON too, and says nothing about empty ones', () => {
    const values = (text: string) => parseDocuments(text).documents.map((d) => d.value)
    expect(values('a: 1\n---\n---\n# nothing\n---\nb: [2]\n')).toEqual([{ a: 1 }, { b: [2] }])
    expect(values('{"a": {"b": [1, null, "x"]}}')).toEqual([{ a: { b: [1, null, 'x'] } }])
    expect(values('')).toEqual([])
    expect(values('\ufeffa: 1')).toEqual([{ a: 1 }])
  })

  it('is YAML 1.2: only true and false are booleans, dates are text', () => {
    const [document] = parseDocuments('a: "yes"\nb: true\nc: 2026-01-01\nd: 010\ne: 0x10\nf: ~\ng: 1e3\n').documents
    expect(document?.value).toEqual({ a: 'yes', b: true, c: '2026-01-01', d: 10, e: 16, f: null, g: 1000 })
  })

  it('takes a List apart and still knows the places', () => {
    const { documents } = parseDocuments('kind: List\nitems:\n- a: 1\n- b:\n    c: 2\n')
    expect(documents.map((d) => d.value)).toEqual([{ a: 1 }, { b: { c: 2 } }])
    expect(documents[1]?.locate(['b', 'c'])).toEqual({ line: 5, column: 8 })
  })

  it('finds keys, values, and the nearest place of what is not there', () => {
    const [, document] = parseDocuments('x: 1\n---\nspec:\n  http:\n  - route:\n    - wieght: 90\n').documents
    expect(document?.locate(['spec', 'http', 0, 'route', 0, 'wieght'], 'key')).toEqual({ line: 6, column: 7 })
    expect(document?.locate(['spec', 'http', 0, 'route', 0, 'wieght'])).toEqual({ line: 6, column: 15 })
    expect(document?.locate(['spec', 'http', 0, 'route', 7, 'weight'])).toEqual({ line: 6, column: 5 })
    expect(document?.locate([])).toEqual({ line: 3, column: 1 })
    const [aliased] = parseDocuments('a: &x {b: 1}\nc: *x\n').documents
    expect(aliased?.locate(['c', 'b'])).toEqual({ line: 1, column: 11 })
  })

  it('says where an alias stands for nothing', () => {
    expect(errorsOf('a: &x 1\nb:\n  - *x\n  - *y\n')).toMatchObject([
      { message: 'the alias *y stands for nothing: no &y before it', line: 4, column: 5, field: 'b[1]' },
    ])
  })
  it('names the field that is there twice', () => {
    expect(errorsOf('a:\n  - b: 1\n  - {c: 1, d: [{e: 1, e: 2}]}\n')).toEqual([
      {
        severity: 'error',
        message: 'the key is there twice',
        file: 'f.yaml',
        line: 3,
        column: 23,
        field: 'a[1].d[0].e',
      },
    ])
  })

  it.each([
    ['a: 1\n  b: 2', 1],
    ['a: [1\nb: 2', 2],
    ['a: 1\na: 2', 2],
    ['\ta: 1', 1],
    ['a: *nobody', 1],
    ['? [a]\n: 1', 1],
    ['__proto__: {x: 1}', 1],
    ['a: !!binary aGk=', 1],
    ['a: !custom x', 1],
    ['a: &a {b: *a}', 1],
    ['"', 1],
    ['a: 1\n---\nb: {', 3],
  ])('refuses %j with its line', (text, line) => {
    const [error] = errorsOf(text)
    expect(error).toMatchObject({ file: 'f.yaml', line })
    expect(error?.message).not.toMatch(/\n/)
  })

  it('keeps the documents beside a broken one', () => {
    const { documents } = parseDocuments('a: 1\n---\nb: [\n---\nc: 3\n')
    expect(documents.map((d) => d.value)).toEqual([{ a: 1 }, { c: 3 }])
  })

  it.each(['n: 1', 'y: 1', 'on: 1', 'Off: 1', 'yes: 1', 'NO: 1', 'a: on', 'a: [yes]'])(
    'warns that YAML 1.1 reads %s differently',
    (text) => {
      const { documents, problems } = parseDocuments(text)
      expect(problems).toMatchObject([{ severity: 'warning', line: 1 }])
      expect(documents).toHaveLength(1)
    },
  )

  it.each([
    ['a:\n  - b: { n: 1 }', 'a[0].b.n', 2, /boolean/],
    ['spec:\n  mode: 0644', 'spec.mode', 2, /number 644 .*octal/],
    ['spec:\n  mode: 0o17', 'spec.mode', 2, /number 15 .*text/],
    ['spec: [1, on]', 'spec[1]', 1, /boolean/],
  ])('names the field of the trap in %j', (text, field, line, message) => {
    const { problems } = parseDocuments(text, 'f.yaml')
    expect(problems).toMatchObject([{ severity: 'warning', field, line, file: 'f.yaml' }])
    expect(problems[0]!.message).toMatch(message)
  })

  it.each(['a: 0', 'a: 0.5', 'a: 089', 'a: "0644"', 'a: 10', 'a: 0x1f'])('%s is the same to all', (text) => {
    expect(parseDocuments(text).problems).toEqual([])
  })

  it.each(['"n": 1', "'on': 1", 'a: "yes"', 'north: 1', 'a: none'])('does not warn about %s', (text) => {
    expect(parseDocuments(text).problems).toEqual([])
  })

  it.each([
    ['deep flow', '['.repeat(50_000), /nested deeper than 64/],
    ['deep blocks', '- '.repeat(50_000), /nested deeper than 64/],
    ['deep keys', '? '.repeat(50_000), /nested deeper than 64/],
    ['many keys', Array.from({ length: 50_000 }, (_, i) => `k${i}: 1`).join('\n'), /more than 2000 entries/],
    [
      'an alias bomb',
      `a: &a [${'x,'.repeat(9)}]\n${'bcdefgh'.replace(/./g, (c) => `${c}: &${c} [${`*${String.fromCharCode(c.charCodeAt(0) - 1)},`.repeat(9)}]\n`)}`,
      /alias/i,
    ],
    ['too many bytes', `a: "${'x'.repeat(5 * 1024 * 1024)}"`, /longer than/],
  ])('refuses %s without ado', (_, text, message) => {
    const started = performance.now()
    const errors = errorsOf(text)
    expect(errors[0]?.message).toMatch(message)
    expect(performance.now() - started).toBeLessThan(5_000)
  })

  it('lets long lists pass', () => {
    expect(errorsOf(`a: [${'1,'.repeat(5_000)}]\nb:\n${'- 1\n'.repeat(5_000)}`)).toEqual([])
  })

  it('never throws, whatever the text', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        'a: ',
        '- ',
        '\n',
        '  ',
        '[',
        ']',
        '{',
        '}',
        '&x ',
        '*x',
        '"',
        "'",
        '---\n',
        '? ',
        ': ',
        '|',
        '>',
        '#',
        '!!str ',
        '%',
        '\t',
        ',',
      ),
      fc.string({ maxLength: 5 }),
    )
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const { documents, problems } = parseDocuments(pieces.join(''), 'f')
        for (const document of documents) document.locate(['a', 0, 'b'], 'key')
        for (const problem of problems) expect(problem.line).toBeGreaterThan(0)
      }),
      { numRuns: 500 },
    )
  })

  it('reads back whatever JSON data was written', () => {
    const data = fc.jsonValue({ maxDepth: 4 }).filter((v) => v !== null && !/__proto__/.test(JSON.stringify(v)))
    fc.assert(
      fc.property(data, (value) => {
        expect(parseDocuments(stringify(value)).documents.map((d) => d.value)).toEqual([
          JSON.parse(JSON.stringify(value)),
        ])
      }),
      { numRuns: 200 },
    )
  })
})
