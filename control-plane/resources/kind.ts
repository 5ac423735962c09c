import type * as z from 'zod'
import type { FieldPath } from './document.ts'

/** Tells of something that the schema alone cannot see; the path starts inside `spec`, `code` is that of `inmesh analyze`. */
export type Report = (
  severity: 'error' | 'warning',
  path: FieldPath,
  message: string,
  suggestion?: string,
  code?: string,
) => void

/** The same, with one code for all that it is told. */
export function withCode(report: Report, code: string): Report {
  return (severity, path, message, suggestion) => report(severity, path, message, suggestion, code)
}

export interface CheckContext {
  readonly namespace: string
  readonly rootNamespace: string
  /** That the control plane was started with. */
  readonly trustDomain: string
  readonly annotations: Readonly<Record<string, string>>
}

/**
 * A kind of configuration object: one file each, with schema (types, defaults, checks), what is known but not yet
 * supported, and the text for its readers.
 */
export interface Kind<Name extends string = string, Schema extends z.ZodType = z.ZodType> {
  readonly kind: Name
  /** Lower case, for the CLI: "virtualservices" and further spellings, "vs". */
  readonly names: readonly string[]
  readonly apiVersions: readonly string[]
  /** 'mesh' = one object for all, in the root namespace, named "default". Default: objects live in namespaces. */
  readonly scope?: 'mesh'
  /** Parses `spec` (column spellings already renamed, unsupported fields already taken out). */
  readonly schema: Schema
  readonly unsupported: readonly UnsupportedField[]
  /** Other spellings of fields of `spec`, by spelling. */
  readonly aliases?: Readonly<Record<string, string>>
  /** Name of an object that has none in its metadata. */
  defaultName?(spec: z.output<Schema>): string
  /** What the schema cannot see. */
  check?(spec: z.output<Schema>, report: Report, context: CheckContext): void
  /** One paragraph for `inmesh explain` and the docs. */
  readonly docs: string
  /** Columns of `get`, after NAMESPACE and NAME. */
  readonly columns: readonly { readonly title: string; readonly value: (spec: z.output<Schema>) => string }[]
}

/**
 * A field that Istio has and inmesh does not act on. 'warning' = it is kept and has no effect; 'error' = acting as if it
 * were not there would send calls where they must not go, so the object is refused.
 */
export interface UnsupportedField {
  /** Inside `spec`, like "http[].fault"; [] = each element, {} = each value of a mapping. */
  readonly path: string
  readonly severity: 'error' | 'warning'
  /** What its writer is told. Default: that it is not supported yet. */
  readonly why?: string
}

export function unsupported(
  severity: 'error' | 'warning',
  prefix: string,
  names: string,
  why?: string,
): UnsupportedField[] {
  return names
    .trim()
    .split(/\s+/)
    .map((name) => ({
      path: prefix === '' ? name : `${prefix}.${name}`,
      severity,
      ...(why === undefined ? {} : { why }),
    }))
}
