export interface ClusterTarget {
  readonly port: number
  /** '' = the whole service. */
  readonly subset: string
  readonly host: string
}

/** Reads `outbound|PORT|SUBSET|HOST`; undefined if it is something else. */
export function parseClusterName(name: string): ClusterTarget | undefined {
  const match = /^outbound\|([1-9]\d{0,4})\|([A-Za-z0-9._-]{0,63})\|([^|]{1,253})$/.exec(name)
  if (match === null) return undefined
  const [, port, subset, host] = match
  return Number(port) <= 65_535 ? { port: Number(port), subset: subset!, host: host! } : undefined
}
