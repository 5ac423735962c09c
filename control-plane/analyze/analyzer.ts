import type { FieldPath } from '../resources/document.ts'
import type { KindName, SpecOf } from '../resources/kinds.ts'
import type { World } from './world.ts'

/** An object that is looked at. */
export interface Subject<Name extends KindName = KindName> {
  /** "VirtualService/default/payments". */
  readonly name: string
  readonly namespace: string
  readonly spec: SpecOf<Name>
  /** As written, by another control plane. */
  readonly status: unknown
  /** `path` starts inside `spec`; [] = the object as a whole. */
  report(severity: 'error' | 'warning', code: string, path: FieldPath, message: string, suggestion?: string): void
  /** The same, inside `status`. */
  reportStatus(code: string, path: FieldPath, message: string): void
}

/**
 * Looks for one sort of mistake. One file each, entered in analyzers.ts and in the table of docs/analyze.md. It sees an
 * object and the world around it, and says what it found; it never throws and changes nothing.
 */
export interface Analyzer {
  /** Every code that it reports, with what that means. Istio's or Kiali's where they have one, else INM and a number. */
  readonly codes: Readonly<Record<string, string>>
  /**
   * Whether `apply` asks it too: 'warns' = all that it finds is a warning there; 'refuses' = its errors refuse the batch.
   * Absent: only `inmesh analyze` does.
   */
  readonly onApply?: 'warns' | 'refuses'
  /** By kind of the object. */
  readonly checks: { readonly [Name in KindName]?: (subject: Subject<Name>, world: World) => void }
}
