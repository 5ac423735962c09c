import { ConfigError } from '../../src/errors.ts'
import { defaults } from '../options.ts'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import { mergeObjects } from '../store/merge-objects.ts'
import type { EndpointRecord, ServiceRecord, StoredObject } from '../store/store.ts'
import { translate } from '../translate/index.ts'
import type { MeshSettings, Translation } from '../translate/types.ts'

/** A mesh that nobody runs: files, and who is there. */
export interface OfflineMesh {
  /** YAML or JSON documents. */
  readonly text: string
  /** Named in problems. */
  readonly file?: string
  /** What is stored already; the text changes those that it names. Default: nothing. */
  readonly objects?: readonly StoredObject[]
  readonly endpoints: readonly EndpointRecord[]
  /** Besides those of `endpoints`: services that have none now. */
  readonly services?: readonly ServiceRecord[]
  readonly settings?: Partial<MeshSettings>
  /** Of objects that name none. Default "default". */
  readonly namespace?: string
}

/**
 * The translation that a control plane would serve for this configuration, checked as `inmesh apply` checks it.
 * @throws ConfigError with every problem found
 */
export function offlineTranslation(mesh: OfflineMesh): Translation {
  const { trustDomain, rootNamespace, domain, outboundTrafficPolicy } = defaults
  const settings: MeshSettings = { trustDomain, rootNamespace, domain, outboundTrafficPolicy, ...mesh.settings }
  const parsed = parseDocuments(mesh.text, mesh.file)
  const endpoints = [...mesh.endpoints]
  const services = [...(mesh.services ?? [])]
  const before = mesh.objects ?? []
  const existing = { objects: [...before], endpoints, services }
  const options = {
    namespace: mesh.namespace ?? 'default',
    rootNamespace: settings.rootNamespace,
    domain: settings.domain,
  }
  const { objects, problems } = validateBatch(parsed.documents, existing, options)
  const all = [...parsed.problems, ...problems]
  if (all.some((p) => p.severity === 'error')) throw new ConfigError(all)
  const merged = mergeObjects(before, objects, 'files')
  return translate({ revision: 1, settings, objects: merged, endpoints, services, trustBundles: new Map() }, null)
}
