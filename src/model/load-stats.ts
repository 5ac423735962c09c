/** How many, and what they sum up to. */
export interface MetricSum {
  readonly count: number
  readonly total: number
}

/** What became of the tries at the hosts of one locality since the last look. */
export interface LocalityLoad {
  /** "region/zone/subzone" */
  readonly locality: string
  readonly priority: number
  readonly issued: number
  readonly succeeded: number
  /** 5xx, gRPC statuses but OK, no answer. Those who gave up count as neither. */
  readonly failed: number
  /** Right now. */
  readonly inProgress: number
  /** What hosts reported about their load, by the name that the cluster asks for. */
  readonly metrics: ReadonlyMap<string, MetricSum>
}

/** As `envoy.config.endpoint.v3.ClusterStats` has it. */
export interface ClusterLoad {
  readonly cluster: string
  /** Of its EDS resource; '' = its own. */
  readonly serviceName: string
  /** Without those of which there is nothing to say. */
  readonly localities: readonly LocalityLoad[]
  /** Calls that were refused here, by limits of this process. */
  readonly dropped: number
}

/** Who counts. */
export interface LoadSource {
  /**
   * What was counted since it was last taken, of clusters whose load is to be reported.
   * @param clusters by name; null = all of them
   */
  takeLoads(clusters: ReadonlySet<string> | null): readonly ClusterLoad[]
}
