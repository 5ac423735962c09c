import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { HeaderEdit } from '../model/route.ts'
import { compileEdits, editList, editRecord } from './edits.ts'
import type { FormatView, ResponseHeaders } from './format.ts'

const request = { method: 'GET', authority: 'svc', path: '/', header: () => undefined }
const view: FormatView = { request, call: null, response: null, routeName: 'r' }

const name = fc.constantFrom('a', 'b', 'x-long')
const edit: fc.Arbitrary<HeaderEdit> = fc.oneof(
  fc.record({ kind: fc.constant('remove' as const), name }),
  fc.record({
    kind: fc.constantFrom('set' as const, 'append' as const, 'add-if-absent' as const, 'overwrite-if-exists' as const),
    name,
    value: fc.constantFrom('1', '2', '%REQ(none)%', '%ROUTE_NAME%'),
    keepEmpty: fc.boolean(),
  }),
)
const header = fc.tuple(fc.constantFrom('a', 'A', 'b', 'B', 'X-Long', 'c'), fc.constantFrom('0', '9'))

function byName(flat: readonly string[]): Record<string, string[]> {
  const all: Record<string, string[]> = {}
  for (let i = 0; i < flat.length; i += 2) {
    const name = flat[i]!.toLowerCase()
    all[name] = [...(all[name] ?? []), flat[i + 1]!]
  }
  return all
}

describe('edits', () => {
  it('mean the same on the lines of a request and on the headers of an answer', () => {
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 8 }), fc.array(header, { maxLength: 8 }), (edits, headers) => {
        const compiled = compileEdits(edits)
        const list = headers.flat()
        const record: ResponseHeaders = byName(list)
        editList(compiled, list, view)
        editRecord(compiled, record, view)
        const seen = Object.fromEntries(Object.entries(record).map(([key, value]) => [key, [value ?? []].flat()]))
        expect(byName(list)).toEqual(seen)
      }),
    )
  })

  it('touch nothing but what they name', () => {
    fc.assert(
      fc.property(fc.array(edit, { maxLength: 8 }), fc.array(header, { maxLength: 8 }), (edits, headers) => {
        const others = (flat: readonly string[]) => byName(flat).c
        const list = headers.flat()
        editList(compileEdits(edits), list, view)
        expect(others(list)).toEqual(others(headers.flat()))
      }),
    )
  })
})
