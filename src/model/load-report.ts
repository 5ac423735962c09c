/** How a host says it is doing (xds.data.orca.v3.OrcaLoadReport). Rates are per second; 0 = not said. */
export interface LoadReport {
  /** 1 = all of its CPU; may be more. */
  readonly cpuUtilization: number
  /** 0 to 1. */
  readonly memUtilization: number
  /** Of whatever the application finds scarce; 1 = it is full. Comes before that of the CPU. */
  readonly applicationUtilization: number
  /** Requests per second. */
  readonly qps: number
  /** Failed requests per second. */
  readonly eps: number
  /** What this request cost, by resource. */
  readonly requestCost: ReadonlyMap<string, number>
  /** 0 to 1, by resource. */
  readonly utilization: ReadonlyMap<string, number>
  readonly namedMetrics: ReadonlyMap<string, number>
}

const nothing: ReadonlyMap<string, number> = new Map()

/** A report that says nothing. */
export const emptyLoadReport: LoadReport = {
  cpuUtilization: 0,
  memUtilization: 0,
  applicationUtilization: 0,
  qps: 0,
  eps: 0,
  requestCost: nothing,
  utilization: nothing,
  namedMetrics: nothing,
}
