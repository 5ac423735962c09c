import type { Hono } from 'hono'
import * as z from 'zod'
import { InmeshError } from '../../src/errors.ts'
import { explainFor } from '../explain/explain-for.ts'
import type { AdminContext } from './context.ts'

const labels = z.record(z.string(), z.string())

const asked = z.strictObject({
  request: z.strictObject({
    method: z.string().min(1).optional(),
    url: z.string().refine((text) => URL.canParse(text), 'must be an absolute URL'),
    headers: labels.optional(),
  }),
  client: z
    .strictObject({
      service: z.string().optional(),
      namespace: z.string().optional(),
      labels: labels.optional(),
      locality: z.string().optional(),
    })
    .optional(),
})

/** POST /v1/explain: what would become of a request of a client, by the configuration that is being served. */
export function mountExplain(app: Hono, { translation }: AdminContext): void {
  app.post('/v1/explain', async (c) => {
    const body: unknown = await c.req.json().catch((cause: unknown) => {
      throw new InmeshError('ERR_INMESH_INVALID_OPTION', 'the body is not JSON', { cause })
    })
    const parsed = asked.safeParse(body)
    if (!parsed.success) {
      const [issue] = parsed.error.issues
      throw new InmeshError(
        'ERR_INMESH_INVALID_OPTION',
        `${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'not valid'}`,
      )
    }
    const { client = {}, request } = parsed.data
    const { method = 'GET', url, headers = {} } = request
    return c.json(explainFor(translation(), client, { method, url, headers }))
  })
}
