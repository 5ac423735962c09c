import { describe, expect, it } from 'vitest'
import type { StoredObject } from '../store/store.ts'
import { parseDocuments } from './document.ts'
import { alignColumns, formatAge, formatJson, formatTable, formatYaml } from './output.ts'
import { validateBatch } from './validate.ts'

const object: StoredObject = {
  ...{ kind: 'VirtualService', namespace: 'default', name: 'payments', apiVersion: 'networking.istio.io/v1' },
  ...{ labels: { on: 'yes' }, annotations: {}, uid: 'u', generation: 2, revision: 7 },
  ...{ createdAt: Date.UTC(2026, 0, 1), updatedAt: 0, updatedBy: 'x' },
  spec: {
    hosts: ['payments'],
    http: [
      {
        route: [
          { destination: { host: 'payments', subset: 'v1' }, weight: 90 },
          { destination: { host: 'payments', subset: 'v2' }, weight: 10 },
        ],
        match: [{ headers: { n: { exact: '010' } } }],
      },
    ],
  },
}
const split: StoredObject = {
  ...object,
  ...{
    kind: 'TrafficSplit',
    apiVersion: 'inmesh.dev/v1',
    name: 's',
    spec: { destinationService: 'payments', v2Weight: 5 },
  },
}

describe('output', () => {
  it.each([
    ['YAML', formatYaml],
    ['JSON', formatJson],
  ])('what %s prints can be applied again, and nothing in it is read differently', (_, format) => {
    const text = format([object, split])
    const { documents, problems } = parseDocuments(text)
    expect(problems).toEqual([])
    const batch = validateBatch(documents, { objects: [], endpoints: [], services: [] })
    expect(batch.objects.map((o) => [o.kind, o.name, o.spec, o.labels])).toEqual([
      ['VirtualService', 'payments', object.spec, object.labels],
      ['TrafficSplit', 's', split.spec, split.labels],
    ])
  })

  it('prints one object as it is, several as a List', () => {
    expect(JSON.parse(formatJson([object]))).toMatchObject({
      kind: 'VirtualService',
      metadata: { name: 'payments', resourceVersion: '7', creationTimestamp: '2026-01-01T00:00:00.000Z' },
    })
    expect(JSON.parse(formatJson([]))).toEqual({ apiVersion: 'v1', kind: 'List', items: [] })
    expect(formatYaml([])).toBe('')
  })

  it('prints a table for each kind', () => {
    const odd = { ...object, name: 'odd', spec: { hosts: 3 } }
    expect(formatTable([object, split, odd], object.createdAt + 90_000)).toBe(
      [
        'NAMESPACE   NAME       HOSTS      ROUTES                          AGE',
        'default     payments   payments   payments/v1:90 payments/v2:10   90s',
        'default     odd        ?          ?                               90s',
        '',
        'NAMESPACE   NAME   SOURCE   DESTINATION   V1    V2   HEADERS   AGE',
        'default     s      *        payments      100   5    -         90s',
        '',
      ].join('\n'),
    )
    expect(formatTable([], 0)).toBe('')
  })

  it.each([
    [-5, '0s'],
    [119_000, '119s'],
    [120_000, '2m'],
    [7_200_000, '2h'],
    [172_800_000, '2d'],
  ])('an age of %i ms is %s', (ms, text) => {
    expect(formatAge(ms)).toBe(text)
  })

  it('aligns columns', () => {
    expect(
      alignColumns([
        ['a', 'bb'],
        ['ccc', ''],
      ]),
    ).toBe('a     bb\nccc\n')
  })
})
