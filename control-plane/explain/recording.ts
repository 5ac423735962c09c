import * as z from 'zod'
import type { Problem } from '../../src/errors.ts'

const labels = z.record(z.string(), z.string())

const line = z.object({
  time: z.string().optional(),
  client: z.object({ service: z.string(), namespace: z.string().optional(), labels: labels.optional() }),
  method: z.string().min(1),
  url: z.string().refine((text) => URL.canParse(text), 'must be an absolute URL'),
  headers: labels.optional(),
  status: z.number().optional(),
})

/** One line of a recording: what a request was, not what was in it. */
export type RecordedRequest = z.infer<typeof line>

/** Reads JSON lines; lines that are none are told of and left out. */
export function parseRecording(
  text: string,
  file?: string,
): { readonly requests: readonly RecordedRequest[]; readonly problems: readonly Problem[] } {
  const requests: RecordedRequest[] = []
  const problems: Problem[] = []
  text.split('\n').forEach((json, i) => {
    if (json.trim() === '') return
    const result = line.safeParse(parse(json))
    if (result.success) {
      requests.push(result.data)
      return
    }
    const issue = result.error.issues[0]
    problems.push({
      ...{ severity: 'warning', line: i + 1, message: issue?.message ?? 'is not a recorded request' },
      ...(issue === undefined || issue.path.length === 0 ? {} : { field: issue.path.join('.') }),
      ...(file === undefined ? {} : { file }),
    })
  })
  return { requests, problems }
}

/** undefined for what is no JSON: the schema then says so. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
