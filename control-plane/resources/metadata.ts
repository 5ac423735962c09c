import * as z from 'zod'
import { labels, namespaceName, objectName } from './fields.ts'

/** What Kubernetes and `inmesh get` write into metadata; read and left aside. */
const bookkeeping = [
  ...['uid', 'generation', 'resourceVersion', 'creationTimestamp', 'deletionTimestamp', 'managedFields', 'selfLink'],
  ...['ownerReferences', 'finalizers', 'deletionGracePeriodSeconds'],
]

export const metadataSchema = z.strictObject({
  name: objectName.optional(),
  namespace: namespaceName.optional(),
  labels: labels.default({}),
  annotations: z.record(z.string(), z.string()).default({}),
  ...Object.fromEntries(bookkeeping.map((name) => [name, z.unknown().optional()])),
})

export interface ObjectMetadata {
  name?: string
  namespace?: string
  labels: Record<string, string>
  annotations: Record<string, string>
}
