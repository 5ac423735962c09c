import type { Hono } from 'hono'
import * as z from 'zod'
import { InmeshError } from '../../src/errors.ts'
import type { AdminContext } from './context.ts'

const label = z
  .string()
  .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, 'must be a DNS label: a-z, 0-9 and inner hyphens')

const tokenRequest = z.strictObject({
  service: label,
  namespace: label.optional(),
  serviceAccount: label.optional(),
  /** At most a day: a join token is for the next minutes. */
  ttlSeconds: z.number().positive().max(86_400).optional(),
})

/** Tokens, and views of what runs. */
export function mountOperations(app: Hono, context: AdminContext): void {
  const { store } = context

  app.post('/v1/tokens', async (c) => {
    const parsed = tokenRequest.safeParse(await jsonBody(c.req.text()))
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      const field = issue?.path.join('.') || 'body'
      throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${field}: ${issue?.message ?? 'not valid'}`)
    }
    const { ttlSeconds, ...rest } = parsed.data
    const ttlMs = ttlSeconds === undefined ? undefined : ttlSeconds * 1000
    return c.json(await context.createToken({ ...rest, ttlMs }, 'admin'), 201)
  })

  app.get('/v1/clients', (c) => c.json({ ...context.revision(), faults: context.faults(), clients: context.clients() }))

  app.get('/v1/loads', (c) => c.json({ items: context.loads(c.req.query('cluster')) }))

  app.get('/v1/endpoints', async (c) => {
    const service = c.req.query('service')
    const namespace = c.req.query('namespace')
    const { revision, endpoints } = await store.snapshot()
    const items = endpoints.filter(
      (e) => (service === undefined || e.service === service) && (namespace === undefined || e.namespace === namespace),
    )
    return c.json({ revision, items })
  })

  app.get('/v1/certificates', async (c) => {
    const records = await store.certificates.list({
      service: c.req.query('service'),
      spiffeId: c.req.query('spiffeId'),
    })
    // Sealed or not, keys do not leave by this door.
    return c.json({ items: records.map(({ privateKey: _, ...record }) => record) })
  })

  app.get('/v1/trust-bundle', (c) => c.body(context.trustBundlePem, 200, { 'content-type': 'application/x-pem-file' }))

  app.get('/v1/audit', async (c) => {
    const limit = Math.trunc(Number(c.req.query('limit') ?? 100))
    if (!(limit >= 1 && limit <= 10_000))
      throw new InmeshError('ERR_INMESH_INVALID_OPTION', 'limit must be a whole number from 1 to 10000')
    return c.json({ items: await store.audit.list(limit) })
  })
}

async function jsonBody(text: Promise<string>): Promise<unknown> {
  try {
    return JSON.parse(await text)
  } catch (cause) {
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', 'the body is not JSON', { cause })
  }
}
