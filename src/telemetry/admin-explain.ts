import type { IncomingMessage } from 'node:http'
import type { ExplainRequest, Explanation } from '../engine/explain/explanation.ts'
import { formatExplanation } from '../engine/explain/format-explanation.ts'
import { redact } from './redact.ts'

type Answer = [status: number, type: string, body: string]

/** GET /explain?url=URL[&method=M][&header=NAME:VALUE]...: text, or JSON for those who ask for it. */
export function explainAnswer(
  req: IncomingMessage,
  { explain }: { explain(request: ExplainRequest): Explanation },
): Answer {
  const query = new URL(req.url ?? '/', 'http://localhost').searchParams
  const url = query.get('url') ?? ''
  if (!URL.canParse(url)) return bad('GET /explain?url=http://HOST/PATH[&method=GET][&header=NAME:VALUE]')
  const headers = new Map<string, string>()
  for (const line of query.getAll('header')) {
    const at = line.indexOf(':')
    if (at < 1) return bad(`header is ${JSON.stringify(line)}: expected NAME:VALUE`)
    const name = line.slice(0, at).trim().toLowerCase()
    const before = headers.get(name)
    const value = line.slice(at + 1).trim()
    headers.set(name, before === undefined ? value : `${before},${value}`)
  }
  const explanation = explain({ url, method: query.get('method') ?? 'GET', headers: Object.fromEntries(headers) })
  if (req.headers.accept?.includes('application/json') || query.get('format') === 'json')
    return [200, 'application/json', `${JSON.stringify(redact(explanation), null, 2)}\n`]
  return [200, 'text/plain; charset=utf-8', `${formatExplanation(explanation)}\n`]
}

function bad(text: string): Answer {
  return [400, 'text/plain', `${text}\n`]
}
