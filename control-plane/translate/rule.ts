import { type KindName, type SpecOf, specOf } from '../resources/kinds.ts'
import type { StoredObject } from '../store/store.ts'

/** A configuration object with its parsed spec. */
export interface Rule<Spec> {
  readonly object: StoredObject
  readonly spec: Spec
  /** "VirtualService/default/payments", for explain. */
  readonly name: string
}

export function objectName(object: StoredObject): string {
  return `${object.kind}/${object.namespace}/${object.name}`
}

/** Equal texts = the same state of the same object. */
export function objectKey(object: StoredObject): string {
  return `${objectName(object)}@${object.uid}@${object.revision}`
}

/** Objects of a kind, oldest first. Those that this version cannot read are left out. */
export function rulesOf<Name extends KindName>(objects: readonly StoredObject[], kind: Name): Rule<SpecOf<Name>>[] {
  return objects
    .filter((object) => object.kind === kind)
    .toSorted(byAge)
    .flatMap((object) => {
      const spec = specOf(object, kind)
      return spec === undefined ? [] : [{ object, spec, name: objectName(object) }]
    })
}

/** Istio's order of precedence between objects of one kind: creation, then name. */
export function byAge(a: StoredObject, b: StoredObject): number {
  return a.createdAt - b.createdAt || compareText(objectName(a), objectName(b))
}

/** By code unit, the same on every machine. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
