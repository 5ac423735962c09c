import * as z from 'zod'
import { namespaceName } from './fields.ts'
import type { Report } from './kind.ts'

/**
 * Who sees an object: "*" every namespace, "." its own, "~" nobody, or namespaces by name. Absent or empty: what
 * MeshConfig says for the kind, else "*".
 */
export const exportTo = z
  .array(z.union([z.enum(['*', '.', '~']), namespaceName], 'must be "*", ".", "~" or a namespace'))
  .optional()
  .describe('Namespaces that see this object: "*" = all, "." = its own, "~" = none, or names. Default "*".')

/** What Istio refuses in an `exportTo`: a value twice ("." is the own namespace), "*" or "~" beside others. */
export function checkExportTo(
  values: readonly string[] | undefined,
  namespace: string,
  report: Report,
  path: (string | number)[] = ['exportTo'],
): void {
  const seen = new Set<string>()
  values?.forEach((value, index) => {
    const meant = value === '.' ? namespace : value
    if (seen.has(meant)) report('error', [...path, index], `"${value}" is listed twice`)
    seen.add(meant)
    if ((value === '*' || value === '~') && values.length > 1)
      report('error', [...path, index], `"${value}" cannot stand beside others`)
  })
}
