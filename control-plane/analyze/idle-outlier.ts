import type { FieldPath } from '../resources/document.ts'
import type { OutlierDetectionSpec } from '../resources/outlier-detection.ts'
import type { Analyzer } from './analyzer.ts'

const CODE = 'INM0106'

export const idleOutlier: Analyzer = {
  codes: { [CODE]: 'outlierDetection can never take a host out' },
  checks: {
    DestinationRule({ spec, namespace, report }, world) {
      const host = world.host(spec.host, namespace)
      const hosts = world.endpointsKnown(host) ? world.labelsOf(host).length : 0
      const policies = [
        { policy: spec.trafficPolicy, path: ['trafficPolicy'] as FieldPath },
        ...spec.subsets.map(({ trafficPolicy }, s) => ({
          policy: trafficPolicy,
          path: ['subsets', s, 'trafficPolicy'],
        })),
      ]
      for (const { policy, path } of policies)
        for (const { outlier, at } of [
          { outlier: policy?.outlierDetection, at: [...path, 'outlierDetection'] },
          ...(policy?.portLevelSettings ?? []).map(({ outlierDetection }, p) => ({
            ...{ outlier: outlierDetection, at: [...path, 'portLevelSettings', p, 'outlierDetection'] },
          })),
        ]) {
          const why = outlier === undefined ? undefined : whyIdle(outlier, hosts)
          if (why !== undefined)
            report('warning', CODE, [...at, ...why.field], `never takes a host out: ${why.message}`)
        }
    },
  },
}

/** @param hosts how many there are; 0 = not known */
function whyIdle(outlier: OutlierDetectionSpec, hosts: number): { field: FieldPath; message: string } | undefined {
  const gateway = outlier.consecutiveGatewayErrors ?? outlier.consecutiveErrors ?? 0
  const local = outlier.splitExternalLocalOriginErrors ? (outlier.consecutiveLocalOriginFailures ?? 5) : 0
  if ((outlier.consecutive5xxErrors ?? 5) === 0 && gateway === 0 && local === 0)
    return { field: [], message: 'every count of failures is off' }
  const { minHealthPercent: least } = outlier
  if (least === 100)
    return { field: ['minHealthPercent'], message: 'with one out, less than 100 % are healthy and all are used' }
  if (hosts > 0 && ((hosts - 1) / hosts) * 100 < least)
    return {
      field: ['minHealthPercent'],
      message: `with one of ${hosts} out, less than ${least} % are healthy and all are used`,
    }
  return undefined
}
