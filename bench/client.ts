/** A client process: one variant, measured when told. */
import { measureWhenTold } from './measured.ts'
import type { ClientSetup } from './protocol.ts'
import { createRequester } from './variants.ts'

measureWhenTold(async (setup: ClientSetup) => {
  const request = await createRequester(setup)
  const body = await request()
  if (body.length < 1_000) throw new Error(`${setup.variant}: unexpected answer ${body}`)
  return request
})
