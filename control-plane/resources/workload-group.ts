import * as z from 'zod'
import { labels, port, uint32 } from './fields.ts'
import { type Kind, unsupported } from './kind.ts'
import { checkLocality, workload } from './workload-entry.ts'

const schema = z.strictObject({
  metadata: z
    .strictObject({ labels: labels.default({}), annotations: z.record(z.string(), z.string()).default({}) })
    .optional(),
  template: z.strictObject(workload).describe('What its workloads have in common.'),
  probe: z
    .strictObject({
      initialDelaySeconds: uint32.default(0),
      timeoutSeconds: uint32.default(1),
      periodSeconds: uint32.default(10),
      successThreshold: uint32.default(1),
      failureThreshold: uint32.default(3),
      httpGet: z
        .strictObject({
          path: z.string().default('/'),
          port,
          host: z.string().optional(),
          scheme: z.enum(['HTTP', 'HTTPS']).default('HTTP'),
        })
        .optional(),
      tcpSocket: z.strictObject({ host: z.string().optional(), port }).optional(),
      grpc: z.strictObject({ port: port.optional(), service: z.string().optional() }).optional(),
    })
    .optional(),
})
export type WorkloadGroupSpec = z.output<typeof schema>

/** Workloads of the mesh register themselves, with their own labels, account and health: a group only describes them. */
export const workloadGroup: Kind<'WorkloadGroup', typeof schema> = {
  kind: 'WorkloadGroup',
  names: ['workloadgroup', 'workloadgroups', 'wg'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema,
  unsupported: [
    ...unsupported('warning', 'template', 'network', 'has no effect: there is one network'),
    ...unsupported('error', 'probe', 'exec', 'is not possible: nothing of the mesh runs commands beside a workload'),
  ],
  check(spec, report) {
    checkLocality(spec.template.locality, ['template', 'locality'], report)
    report('warning', [], 'is kept and has no effect: workloads register themselves with their own labels and account')
    const kinds = (['httpGet', 'tcpSocket', 'grpc'] as const).filter((kind) => spec.probe?.[kind] !== undefined)
    if (spec.probe !== undefined && kinds.length !== 1)
      report('error', ['probe'], 'needs exactly one of httpGet, tcpSocket, grpc')
    if (spec.probe !== undefined)
      report(
        'warning',
        ['probe'],
        'has no effect: use ServicePolicy.healthCheck, which the callers of a service carry out',
      )
  },
  docs: 'What workloads that do not run in Kubernetes have in common. Kept for tools that read it; workloads of the mesh register themselves.',
  columns: [{ title: 'ACCOUNT', value: (spec) => spec.template.serviceAccount || '-' }],
}
