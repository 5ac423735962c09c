import { emptyLoadReport, type LoadReport } from '../model/load-report.ts'

export type Scalar = 'cpuUtilization' | 'memUtilization' | 'applicationUtilization' | 'qps' | 'eps'
export type Table = 'requestCost' | 'utilization' | 'namedMetrics'

/** One row per number of the message: its field and its name in the .proto, which TEXT uses, too. */
export const scalars: readonly { readonly field: number; readonly name: string; readonly key: Scalar }[] = [
  { field: 1, name: 'cpu_utilization', key: 'cpuUtilization' },
  { field: 2, name: 'mem_utilization', key: 'memUtilization' },
  { field: 6, name: 'rps_fractional', key: 'qps' },
  { field: 7, name: 'eps', key: 'eps' },
  { field: 9, name: 'application_utilization', key: 'applicationUtilization' },
]

/** As `scalars`, for what has names of its own. */
export const tables: readonly { readonly field: number; readonly name: string; readonly key: Table }[] = [
  { field: 4, name: 'request_cost', key: 'requestCost' },
  { field: 5, name: 'utilization', key: 'utilization' },
  { field: 8, name: 'named_metrics', key: 'namedMetrics' },
]

/** A report that is being read. */
export class ReportDraft {
  private readonly found: { -readonly [K in keyof LoadReport]: LoadReport[K] } = { ...emptyLoadReport }
  private readonly maps = new Map<Table, Map<string, number>>()

  scalar(key: Scalar, value: number): void {
    this.found[key] = value
  }

  entry(table: Table, name: string, value: number): void {
    let map = this.maps.get(table)
    if (map === undefined) {
      map = new Map()
      this.maps.set(table, map)
      this.found[table] = map
    }
    map.set(name, value)
  }

  /** @returns null = it says what cannot be (the rules of the .proto) */
  done(): LoadReport | null {
    const { found } = this
    for (const { key } of scalars) if (!(found[key] >= 0 && found[key] < Number.POSITIVE_INFINITY)) return null
    if (found.memUtilization > 1) return null
    for (const value of found.utilization.values()) if (!(value >= 0 && value <= 1)) return null
    for (const map of this.maps.values()) for (const value of map.values()) if (!Number.isFinite(value)) return null
    return found
  }
}
