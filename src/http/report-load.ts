import type { ServerResponse } from 'node:http'
import { InmeshError } from '../errors.ts'
import { emptyLoadReport, type LoadReport } from '../model/load-report.ts'
import { formatReport, parseReport, REPORT_HEADER } from '../orca/header.ts'

type Tables = 'requestCost' | 'utilization' | 'namedMetrics'

/** What a handler knows about the load of its process; what is left out stays as it was. See {@link LoadReport} for units. */
export type LoadInput = Partial<Omit<LoadReport, Tables> & Readonly<Record<Tables, Readonly<Record<string, number>>>>>

/**
 * Tells the caller how loaded this server is, in the head of this answer (ORCA, `endpoint-load-metrics`). Callers that balance
 * by WEIGHTED_ROUND_ROBIN go by `qps` and `applicationUtilization` or `cpuUtilization`. A second call adds to the first.
 *
 *     reportLoad(res, { applicationUtilization: pool.busy / pool.size, qps: rate })
 *
 * @returns false = too late, the head is on its way
 * @throws InmeshError ERR_INMESH_INVALID_OPTION for what is negative or not finite, and for shares above 1
 */
export function reportLoad(
  response: Pick<ServerResponse, 'headersSent' | 'getHeader' | 'setHeader'>,
  load: LoadInput,
): boolean {
  if (response.headersSent) return false
  const before = response.getHeader(REPORT_HEADER)
  const base = (typeof before === 'string' ? parseReport(before) : null) ?? emptyLoadReport
  const text = formatReport({
    ...base,
    ...load,
    requestCost: joined(base.requestCost, load.requestCost),
    utilization: joined(base.utilization, load.utilization),
    namedMetrics: joined(base.namedMetrics, load.namedMetrics),
  })
  if (parseReport(text) === null)
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `no valid load report: ${JSON.stringify(load)}`)
  response.setHeader(REPORT_HEADER, text)
  return true
}

function joined(base: ReadonlyMap<string, number>, more: Readonly<Record<string, number>> | undefined) {
  return more === undefined ? base : new Map([...base, ...Object.entries(more)])
}
