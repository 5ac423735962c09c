import { ConfigError } from '../../src/errors.ts'
import { defaults } from '../options.ts'
import { parseDocuments, validateBatch } from '../resources/index.ts'
import type { EndpointRecord, ObjectInput, ServiceRecord, StoredObject } from '../store/store.ts'
import { translate } from '../translate/index.ts'
import type { MeshSettings, Translation } from '../translate/types.ts'

/** A mesh that nobody runs: files, and who is there. */
export interface OfflineMesh {
  /** YAML or JSON documents. */
  readonly text: string
  /** Named in problems. */
  readonly file?: string
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
  const existing = { objects: [], endpoints, services }
  const options = {
    namespace: mesh.namespace ?? 'default',
    rootNamespace: settings.rootNamespace,
    domain: settings.domain,
  }
  const { objects, problems } = validateBatch(parsed.documents, existing, options)
  const all = [...parsed.problems, ...problems]
  if (all.some((p) => p.severity === 'error')) throw new ConfigError(all)
  return translate(
    { revision: 1, settings, objects: objects.map(stored), endpoints, services, trustBundles: new Map() },
    null,
  )
}

/** As the store would give it back; the first of the text is the oldest. */
function stored(input: ObjectInput, i: number): StoredObject {
  const uid = `${input.kind}/${input.namespace}/${input.name}`
  return { ...input, uid, generation: 1, revision: i + 1, createdAt: i + 1, updatedAt: i + 1, updatedBy: 'files' }
}
