import type { Hono } from 'hono'
import type { EndpointRecord, ServiceRecord, StoredObject } from '../store/store.ts'
import type { MeshSettings } from '../translate/types.ts'
import type { AdminContext } from './context.ts'

/** All that a translation is made of, but for the trust bundles. */
export interface MeshState {
  readonly revision: number
  readonly settings: MeshSettings
  readonly objects: readonly StoredObject[]
  readonly endpoints: readonly EndpointRecord[]
  readonly services: readonly ServiceRecord[]
}

/** GET /v1/state: what `inmesh replay` compares with. */
export function mountState(app: Hono, { store, settings }: AdminContext): void {
  app.get('/v1/state', async (c) => {
    const { revision, objects, endpoints, services } = await store.snapshot()
    return c.json({ revision, settings, objects, endpoints, services } satisfies MeshState)
  })
}
