import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { ConfigError, InmeshError } from '../../src/errors.ts'
import type { Logger } from '../../src/model/logger.ts'
import { allowHosts, requireToken } from './auth.ts'
import type { AdminContext } from './context.ts'
import { mountExplain } from './explain.ts'
import { mountObjects } from './objects.ts'
import { mountOperations } from './operations.ts'
import { problem } from './problem.ts'
import { mountState } from './state.ts'

export interface AdminAppOptions {
  readonly context: AdminContext
  readonly token: string
  /** Host that it listens on. */
  readonly host: string
  readonly logger: Logger
}

const MAX_BODY = 4 * 1024 * 1024

/**
 * The admin API. /healthz, /readyz and /metrics are open to whoever reaches the port, everything else needs the token.
 * Errors are problem+json (RFC 9457).
 */
export function adminApp({ context, token, host, logger }: AdminAppOptions): Hono {
  const app = new Hono()
  app.use(allowHosts(host))
  app.use(async (c, next) => {
    await next()
    c.header('x-content-type-options', 'nosniff')
    c.header('cache-control', 'no-store')
  })
  app.get('/healthz', (c) => c.json({ status: 'ok' }))
  app.get('/readyz', (c) => {
    const { revision, error } = context.revision()
    return c.json(
      { status: error === '' ? 'ok' : 'degraded', revision, error },
      revision > 0 || error === '' ? 200 : 503,
    )
  })
  app.get('/metrics', async (c) =>
    c.body(await context.metrics.text(), 200, { 'content-type': context.metrics.contentType }),
  )
  app.use('/v1/*', requireToken(token))
  app.use(
    '/v1/*',
    bodyLimit({
      maxSize: MAX_BODY,
      onError: () => problem(413, 'Content Too Large', `the body is larger than ${MAX_BODY / 1024 / 1024} MiB`),
    }),
  )
  // Before /v1/:kind, which takes any name.
  mountOperations(app, context)
  mountExplain(app, context)
  mountState(app, context)
  mountObjects(app, context)
  app.notFound((c) => problem(404, 'Not Found', `${c.req.method} ${c.req.path} does not exist`))
  app.onError((error) => {
    if (error instanceof ConfigError)
      return problem(422, 'Unprocessable Content', 'the configuration was refused; nothing was changed', error.problems)
    if (error instanceof InmeshError && error.code === 'ERR_INMESH_INVALID_OPTION')
      return problem(400, 'Bad Request', error.message)
    if (error instanceof InmeshError && error.code === 'ERR_INMESH_STORE') {
      logger.error('admin request failed', { error })
      return problem(409, 'Conflict', error.message)
    }
    logger.error('admin request failed', { error })
    return problem(500, 'Internal Server Error', 'see the log of the control plane')
  })
  return app
}
