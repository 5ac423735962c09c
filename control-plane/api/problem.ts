import type { Problem } from '../../src/errors.ts'

/** RFC 9457, with what a reader of configuration needs besides. */
export interface ProblemDetails {
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly errors?: readonly Problem[]
}

export function problem(status: number, title: string, detail: string, errors?: readonly Problem[]): Response {
  const body: ProblemDetails = { title, status, detail, ...(errors === undefined ? {} : { errors }) }
  return new Response(`${JSON.stringify(body)}\n`, { status, headers: { 'content-type': 'application/problem+json' } })
}
