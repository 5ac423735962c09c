import { status } from '@grpc/grpc-js'
import { InmeshError } from '../../src/errors.ts'

export type IssueStatus = 'INVALID_ARGUMENT' | 'UNAUTHENTICATED' | 'PERMISSION_DENIED' | 'RESOURCE_EXHAUSTED'

/** The authority refuses. The message goes to the requester, so it names no secret. */
export class IssueError extends InmeshError {
  /** gRPC status code. */
  readonly status: number
  constructor(name: IssueStatus, message: string, options?: { cause?: unknown }) {
    super('ERR_INMESH_IDENTITY', message, options)
    this.name = 'IssueError'
    this.status = status[name]
  }
}
