import { InmeshError } from '../errors.ts'

/** The authority said no, and will say so again: to repeat the request is of no use. */
export class RefusedError extends InmeshError {
  constructor(message: string, options?: { cause?: unknown }) {
    super('ERR_INMESH_IDENTITY', message, options)
    this.name = 'RefusedError'
  }
}
