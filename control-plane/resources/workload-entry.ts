import { isIP } from 'node:net'
import * as z from 'zod'
import { labels, port, uint32 } from './fields.ts'
import { type Kind, type Report, unsupported } from './kind.ts'

const dnsName = /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\.?$/i

/** Fields of a workload that does not register itself. */
export const workload = {
  ports: z.record(z.string().min(1), port).default({}).describe("Port here, by the name of the service's port."),
  labels: labels.default({}),
  locality: z.string().default('').describe('region/zone/subzone'),
  weight: uint32.default(0).describe('Relative share of calls. 0 = unset = 1.'),
  serviceAccount: z
    .string()
    .default('')
    .describe('Who answers there: its identity is verified by those who call over mutual TLS.'),
}

export const workloadEntrySpec = z.strictObject({
  address: z
    .string()
    .refine((text) => isIP(text) !== 0 || dnsName.test(text), 'is neither an IP address nor a host name')
    .describe('IP address, or a name where the ServiceEntry resolves names.'),
  ...workload,
})
export type WorkloadEntrySpec = z.output<typeof workloadEntrySpec>

export const workloadEntry: Kind<'WorkloadEntry', typeof workloadEntrySpec> = {
  kind: 'WorkloadEntry',
  names: ['workloadentry', 'workloadentries', 'we'],
  apiVersions: ['networking.istio.io/v1', 'networking.istio.io/v1beta1', 'networking.istio.io/v1alpha3'],
  schema: workloadEntrySpec,
  unsupported: unsupported('warning', '', 'network', 'has no effect: there is one network'),
  check: (spec, report) => checkLocality(spec.locality, ['locality'], report),
  docs: 'One workload that does not register itself, for ServiceEntries that choose it by labels.',
  columns: [{ title: 'ADDRESS', value: (spec) => spec.address }],
}

export function checkLocality(locality: string, path: (string | number)[], report: Report): void {
  if (locality !== '' && !/^[^/]+(\/[^/]+(\/[^/]+)?)?$/.test(locality))
    report('error', path, 'must be "region", "region/zone" or "region/zone/subzone"')
}
