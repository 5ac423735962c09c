import type { Context, Hono } from 'hono'
import { findKind, formatJson, formatTable, formatYaml, kinds, toDocument } from '../resources/index.ts'
import type { StoredObject } from '../store/store.ts'
import type { AdminContext } from './context.ts'
import { problem } from './problem.ts'

const ACTOR = 'admin'

/** Configuration objects: apply, get, list, delete. */
export function mountObjects(app: Hono, { store, apply }: AdminContext): void {
  app.post('/v1/apply', async (c) => {
    const dryRun = !['', 'false', '0', 'none'].includes(c.req.query('dryRun') ?? '')
    const namespace = c.req.query('namespace') || undefined
    const outcome = await apply(await c.req.text(), { actor: ACTOR, dryRun, namespace })
    return c.json({ dryRun, ...outcome })
  })

  app.get('/v1/:kind', async (c) => {
    const kind = findKind(c.req.param('kind'))
    if (kind === undefined) return unknownKind(c.req.param('kind'))
    const { items, cursor } = await store.list({ kind: kind.kind, namespace: c.req.query('namespace') || undefined })
    c.header('x-inmesh-cursor', cursor)
    return render(c, items, () => ({ cursor, items: items.map(toDocument) }))
  })

  app.get('/v1/:kind/:namespace/:name', async (c) => {
    const kind = findKind(c.req.param('kind'))
    if (kind === undefined) return unknownKind(c.req.param('kind'))
    const key = { kind: kind.kind, namespace: c.req.param('namespace'), name: c.req.param('name') }
    const object = await store.get(key)
    return object === undefined ? notFound(key) : render(c, [object], () => toDocument(object))
  })

  app.delete('/v1/:kind/:namespace/:name', async (c) => {
    const kind = findKind(c.req.param('kind'))
    if (kind === undefined) return unknownKind(c.req.param('kind'))
    const key = { kind: kind.kind, namespace: c.req.param('namespace'), name: c.req.param('name') }
    const { cursor, results } = await store.apply([{ delete: key }], { actor: ACTOR })
    if (results[0]?.change !== 'deleted') return notFound(key)
    const subject = `${key.kind}/${key.namespace}/${key.name}`
    await store.audit.append({ at: Date.now(), actor: ACTOR, verb: 'delete', subject, detail: '', result: 'ok' })
    return c.json({ cursor, results })
  })
}

/** YAML and tables for those who ask for them (Accept), JSON otherwise. */
function render(c: Context, objects: readonly StoredObject[], json: () => unknown): Response {
  const accept = c.req.header('accept') ?? ''
  if (accept.includes('application/yaml')) {
    return c.body(formatYaml(objects), 200, { 'content-type': 'application/yaml; charset=utf-8' })
  }
  if (accept.includes('text/plain')) return c.text(formatTable(objects, Date.now()))
  if (accept.includes('application/vnd.inmesh.list+json')) {
    return c.body(formatJson(objects), 200, { 'content-type': 'application/json' })
  }
  return c.json(json() as object)
}

function unknownKind(name: string): Response {
  const known = kinds.map((kind) => kind.kind).join(', ')
  return problem(404, 'Not Found', `unknown kind "${name}"; known are ${known}`)
}

function notFound(key: { kind: string; namespace: string; name: string }): Response {
  return problem(404, 'Not Found', `${key.kind}/${key.namespace}/${key.name} does not exist`)
}
