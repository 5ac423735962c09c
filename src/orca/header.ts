import type { LoadReport } from '../model/load-report.ts'
import { decodeReport } from './binary.ts'
import { ReportDraft, scalars, tables } from './fields.ts'

/** Of gRPC, in trailers: the message itself, in base64 where the transport has only text. */
export const REPORT_BIN_HEADER = 'endpoint-load-metrics-bin'
/** Of HTTP, in headers or trailers: a format and the report. */
export const REPORT_HEADER = 'endpoint-load-metrics'

/** Longer ones are not read. Characters. */
const LONGEST = 16_384

/**
 * Reads the value of `endpoint-load-metrics`, as Envoy documents it: `BIN ` and base64, `JSON ` and the message as JSON,
 * `TEXT ` and `name=value` with commas, in which names of metrics follow `named_metrics.`, `utilization.` or `request_cost.`.
 * @returns null = it is none, or a part of it is not valid
 */
export function parseReport(text: string): LoadReport | null {
  if (text.length > LONGEST) return null
  const space = text.indexOf(' ')
  const rest = text.slice(space + 1)
  switch (text.slice(0, space)) {
    case 'BIN':
      return parseBinary(rest)
    case 'JSON':
      return parseJson(rest)
    case 'TEXT':
      return parseText(rest)
    default:
      return null
  }
}

/** @param base64 of an encoded OrcaLoadReport */
export function parseBinary(base64: string): LoadReport | null {
  return base64.length > LONGEST ? null : decodeReport(Buffer.from(base64, 'base64'))
}

/** As TEXT, which is what people can read; only what is said. */
export function formatReport(report: LoadReport): string {
  const parts: string[] = []
  for (const { key, name } of scalars) if (report[key] !== 0) parts.push(`${name}=${short(report[key])}`)
  for (const { key, name } of tables)
    for (const [metric, value] of report[key]) parts.push(`${name}.${metric}=${short(value)}`)
  return `TEXT ${parts.join(',')}`
}

function short(value: number): string {
  return String(Number(value.toPrecision(6)))
}

function parseText(text: string): LoadReport | null {
  const draft = new ReportDraft()
  const seen = new Set<string>()
  for (const part of text.split(',')) {
    if (part.trim() === '') continue
    const equals = part.indexOf('=')
    const name = part.slice(0, equals).trim()
    const digits = part.slice(equals + 1).trim()
    if (equals < 0 || digits === '' || seen.has(name)) return null
    seen.add(name)
    const value = Number(digits)
    const scalar = scalars.find((row) => row.name === name)
    const table = tables.find((row) => name.startsWith(`${row.name}.`))
    if (scalar !== undefined) draft.scalar(scalar.key, value)
    else if (table !== undefined) draft.entry(table.key, name.slice(table.name.length + 1), value)
    else return null
  }
  return draft.done()
}

/** Names as in the .proto or in camel case, as JSON of protobuf has them. */
function parseJson(text: string): LoadReport | null {
  let message: unknown
  try {
    message = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) return null
  const draft = new ReportDraft()
  for (const [given, value] of Object.entries(message)) {
    const name = given.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    const scalar = scalars.find((row) => row.name === name)
    const table = tables.find((row) => row.name === name)
    if (scalar !== undefined) draft.scalar(scalar.key, numberOf(value))
    else if (table !== undefined) {
      if (typeof value !== 'object' || value === null) return null
      for (const [metric, of] of Object.entries(value)) draft.entry(table.key, metric, numberOf(of))
    }
  }
  return draft.done()
}

/** NaN = it is none. */
function numberOf(value: unknown): number {
  return typeof value === 'number' || (typeof value === 'string' && value !== '') ? Number(value) : Number.NaN
}
