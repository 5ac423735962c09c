import * as z from 'zod'
import { destinationHost, headerName } from './fields.ts'
import type { Kind } from './kind.ts'

const service = destinationHost.refine((name) => name.length <= 128, 'may have at most 128 characters')

const schema = z.strictObject({
  /** Only calls of this service; absent = all callers. */
  sourceService: service.optional(),
  destinationService: service,
  v1Weight: z.int().min(0).max(1_000_000).default(100),
  v2Weight: z.int().min(0).max(1_000_000).default(0),
  /** A request with any of these headers, exactly so, goes to v2 whatever the weights say. */
  headerMatch: z.record(headerName, z.string()).default({}),
})

export type TrafficSplitSpec = z.output<typeof schema>

export const trafficSplit: Kind<'TrafficSplit', typeof schema> = {
  kind: 'TrafficSplit',
  names: ['trafficsplit', 'trafficsplits', 'ts'],
  apiVersions: ['inmesh.dev/v1'],
  schema,
  unsupported: [],
  aliases: {
    source_service: 'sourceService',
    destination_service: 'destinationService',
    v1_weight: 'v1Weight',
    v2_weight: 'v2Weight',
    header_match: 'headerMatch',
  },
  defaultName: ({ sourceService, destinationService }) =>
    sourceService === undefined ? destinationService : `${destinationService}-from-${sourceService}`,
  check(spec, report) {
    if (spec.v1Weight + spec.v2Weight === 0)
      report('warning', ['v2Weight'], 'both weights are 0: every call goes to v1')
  },
  docs: 'Splits the calls to a service between its versions v1 and v2 by weight; requests with a listed header go to v2. Endpoints belong to a version by their label "version". A split for one caller beats the one for all; else the newest counts.',
  columns: [
    { title: 'SOURCE', value: (spec) => spec.sourceService ?? '*' },
    { title: 'DESTINATION', value: (spec) => spec.destinationService },
    { title: 'V1', value: (spec) => String(spec.v1Weight) },
    { title: 'V2', value: (spec) => String(spec.v2Weight) },
    {
      title: 'HEADERS',
      value: (spec) =>
        Object.entries(spec.headerMatch)
          .map(([k, v]) => `${k}: ${v}`)
          .join(', ') || '-',
    },
  ],
}
