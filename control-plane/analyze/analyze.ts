import type { Problem } from '../../src/errors.ts'
import { parseDocuments } from '../resources/document.ts'
import { SKIPPED, validateBatch } from '../resources/validate.ts'
import type { EndpointRecord, ServiceRecord, StoredObject } from '../store/store.ts'
import type { MeshSettings } from '../translate/types.ts'

/** What an analysis is about: documents, a store, or documents over a store. */
export interface Analyzed {
  /** YAML or JSON documents; "" = none. */
  readonly text: string
  readonly objects?: readonly StoredObject[]
  /** Who is there; absent = not known, which leaves out what depends on it. */
  readonly registry?: { readonly endpoints: readonly EndpointRecord[]; readonly services: readonly ServiceRecord[] }
  readonly settings: Pick<MeshSettings, 'trustDomain' | 'rootNamespace' | 'domain'>
  /** Of objects that name none. Default "default". */
  readonly namespace?: string | undefined
}

export interface Finding extends Problem {
  readonly code: string
}

/** Codes of what an object shows by itself, before any analyzer is asked. */
export const validationCodes: Readonly<Record<string, string>> = {
  IST0106: 'the object cannot be read: syntax, schema, values, fields that contradict each other',
  IST0130: 'no call gets to a rule',
  IST0131: 'a condition never matches, or an earlier one covers it',
  IST0134: 'a port of a ServiceEntry without addresses is not for HTTP: no mesh can tell its connections apart',
  INM0002: 'a field has no effect, is not supported, or does not mean what it seems to',
}

/**
 * Everything that is wrong or doubtful, in the order of the text; what is about stored objects, which have no place in a
 * text, comes first. Never throws.
 */
export function analyze({ text, objects = [], registry, settings, namespace }: Analyzed): Finding[] {
  const { trustDomain, rootNamespace, domain } = settings
  const parsed = parseDocuments(text)
  const { endpoints = [], services = [] } = registry ?? {}
  const { problems } = validateBatch(
    parsed.documents,
    { objects, endpoints, services },
    {
      ...{ trustDomain, rootNamespace, domain, analyzers: 'all', checkExisting: true },
      registryKnown: registry !== undefined,
      ...(namespace === undefined ? {} : { namespace }),
    },
  )
  return [...parsed.problems, ...problems]
    .filter(({ code }) => code !== SKIPPED)
    .map((problem) => ({ ...problem, code: problem.code ?? (problem.severity === 'error' ? 'IST0106' : 'INM0002') }))
    .sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
}
