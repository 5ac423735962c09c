/** Who this process is in the mesh; fixed at start. */
export interface WorkloadInfo {
  readonly service: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly trustDomain: string
  /** Always contains app=<service>. */
  readonly labels: Readonly<Record<string, string>>
  /** "region/zone/subzone", parts may be missing. */
  readonly locality: string
  /** Unique to this process, stable over reconnects. */
  readonly instanceId: string
}

export function spiffeIdOf(w: Pick<WorkloadInfo, 'trustDomain' | 'namespace' | 'serviceAccount'>): string {
  return `spiffe://${w.trustDomain}/ns/${w.namespace}/sa/${w.serviceAccount}`
}
