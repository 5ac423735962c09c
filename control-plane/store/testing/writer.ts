import { SqliteStore } from '../sqlite.ts'

/**
 * Run as a process of its own by the tests: writes objects `<prefix>-<n>` one after the other, says each number on
 * stdout once the write was acknowledged, and stops after `count` of them (0 = never).
 */
const [path, prefix, count] = process.argv.slice(2)
const store = new SqliteStore({ path: path! })
for (let n = 1; n <= Number(count) || count === '0'; n++) {
  const input = { kind: 'VirtualService', namespace: 'default', name: `${prefix}-${n}`, apiVersion: 'v1' }
  await store.apply([{ put: { ...input, labels: {}, annotations: {}, spec: { n, text: 'x'.repeat(500) } } }], {
    actor: prefix!,
  })
  process.stdout.write(`${n}\n`)
}
await store.close()
