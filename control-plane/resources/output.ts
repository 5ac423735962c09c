import { stringify } from 'yaml'
import type { StoredObject } from '../store/store.ts'
import { findKind, type KindName, specOf } from './kinds.ts'

/** A stored object as a document that can be applied again. */
export function toDocument(object: StoredObject): Record<string, unknown> {
  return {
    apiVersion: object.apiVersion,
    kind: object.kind,
    metadata: {
      name: object.name,
      namespace: object.namespace,
      ...(Object.keys(object.labels).length > 0 ? { labels: object.labels } : {}),
      ...(Object.keys(object.annotations).length > 0 ? { annotations: object.annotations } : {}),
      uid: object.uid,
      generation: object.generation,
      resourceVersion: String(object.revision),
      creationTimestamp: new Date(object.createdAt).toISOString(),
    },
    spec: object.spec,
  }
}

/** Several documents in one text; what is quoted is what YAML 1.1 readers would misread, too. */
export function formatYaml(objects: readonly StoredObject[]): string {
  return objects.map((object) => stringify(toDocument(object), { version: '1.1', lineWidth: 0 })).join('---\n')
}

/** One object, or a List of several. */
export function formatJson(objects: readonly StoredObject[]): string {
  const documents = objects.map(toDocument)
  const value = documents.length === 1 ? documents[0] : { apiVersion: 'v1', kind: 'List', items: documents }
  return `${JSON.stringify(value, null, 2)}\n`
}

/** Columns with a title line, one block per kind; "" for no objects. */
export function formatTable(objects: readonly StoredObject[], now: number): string {
  const byKind = Map.groupBy(objects, (object) => object.kind)
  return [...byKind].map(([kindName, group]) => formatKind(kindName, group, now)).join('\n')
}

function formatKind(kindName: string, objects: readonly StoredObject[], now: number): string {
  const columns = findKind(kindName)?.columns ?? []
  const rows = objects.map((object) => {
    const spec = specOf(object, kindName as KindName)
    const values = columns.map((column) => (spec === undefined ? '?' : column.value(spec)))
    return [object.namespace, object.name, ...values, formatAge(now - object.createdAt)]
  })
  return alignColumns([['NAMESPACE', 'NAME', ...columns.map((column) => column.title), 'AGE'], ...rows])
}

/** Pads the cells of each column to one width; columns are three blanks apart. */
export function alignColumns(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, cell.length)
    })
  const line = (row: readonly string[]) => row.map((cell, i) => cell.padEnd(widths[i]!)).join('   ')
  return rows.map((row) => `${line(row).trimEnd()}\n`).join('')
}

/** "42s", "5m", "3h", "12d". */
export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000))
  if (seconds < 120) return `${seconds}s`
  if (seconds < 7_200) return `${Math.floor(seconds / 60)}m`
  return seconds < 172_800 ? `${Math.floor(seconds / 3_600)}h` : `${Math.floor(seconds / 86_400)}d`
}
