import * as z from 'zod'
import type { Analyzer, Subject } from './analyzer.ts'

const CODE = 'IST0171'

const condition = z.object({
  type: z.string(),
  status: z.string(),
  reason: z.string().default(''),
  message: z.string().default(''),
})
const conditions = z.array(condition).catch([])
const status = z
  .object({ conditions, parents: z.array(z.object({ conditions })).catch([]) })
  .catch({ conditions: [], parents: [] })

/** What other control planes wrote into objects that come from them: a condition that is "False" names a problem. */
export const negativeCondition: Analyzer = {
  codes: { [CODE]: 'the status of the object, as another control plane wrote it, has a condition that is "False"' },
  checks: { AuthorizationPolicy: check, HTTPRoute: check, GRPCRoute: check },
}

function check(subject: Pick<Subject, 'status' | 'reportStatus'>): void {
  const { conditions: own, parents } = status.parse(subject.status ?? {})
  const lists = [
    { list: own, path: ['conditions'] },
    ...parents.map((parent, p) => ({ list: parent.conditions, path: ['parents', p, 'conditions'] })),
  ]
  for (const { list, path } of lists)
    list.forEach(({ type, status: value, reason, message }, c) => {
      if (value === 'False')
        subject.reportStatus(CODE, [...path, c], [`${type} is "False"`, reason, message].filter(Boolean).join(': '))
    })
}
