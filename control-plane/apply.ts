import { ConfigError, type Problem } from '../src/errors.ts'
import { parseDocuments, validateBatch } from './resources/index.ts'
import type { ApplyResult, Cursor, ObjectKey, Store, StoreOp } from './store/store.ts'

export interface ApplyOptions {
  /** For the audit log. Default "admin". */
  readonly actor?: string
  /** Check and say what would happen; write nothing. */
  readonly dryRun?: boolean
  /** Of objects that name none. Default "default". */
  readonly namespace?: string
  /** Default "istio-system". */
  readonly rootNamespace?: string
  /** Domain of service names. Default "cluster.local". */
  readonly domain?: string
  /** That the control plane was started with. Default "cluster.local". */
  readonly trustDomain?: string
  /** What is stored and not in the text goes: the text is all there is. Default false. */
  readonly replace?: boolean
  /** Named in problems. */
  readonly file?: string
}

export interface ApplyOutcome {
  readonly cursor: Cursor
  readonly results: readonly { readonly key: ObjectKey; readonly change: ApplyResult['results'][number]['change'] }[]
  /** What should be known though it was accepted. */
  readonly warnings: readonly Problem[]
}

/** Longest specification of one object, bytes of JSON. */
const MAX_OBJECT = 256 * 1024

/**
 * Applies the documents of a text (YAML or JSON), all or none of them, and audits it.
 * @throws ConfigError with every problem found, and nothing was written
 */
export async function applyText(store: Store, text: string, options: ApplyOptions = {}): Promise<ApplyOutcome> {
  const {
    actor = 'admin',
    dryRun = false,
    replace = false,
    namespace,
    rootNamespace,
    domain,
    trustDomain,
    file,
  } = options
  const parsed = parseDocuments(text, file)
  const stored = await store.snapshot()
  const existing = replace ? { ...stored, objects: [] } : stored
  const { objects, problems: found } = validateBatch(parsed.documents, existing, {
    ...{ namespace, rootNamespace, domain, trustDomain },
  })
  const problems = [...parsed.problems, ...found]
  for (const { kind, namespace: ns, name, spec } of objects) {
    if (JSON.stringify(spec).length <= MAX_OBJECT) continue
    const message = `is larger than ${MAX_OBJECT / 1024} KiB`
    problems.push({ severity: 'error', message, subject: `${kind}/${ns}/${name}` })
  }
  if (parsed.documents.length === 0 && problems.length === 0 && !replace)
    problems.push({ severity: 'error', message: 'there is no document in it', ...(file === undefined ? {} : { file }) })
  if (problems.some((p) => p.severity === 'error')) {
    if (!dryRun) await audit(store, actor, `${objects.length} objects`, problems[0]!.message, 'refused')
    throw new ConfigError(problems)
  }
  const { cursor, results } = await store.apply(
    [...objects.map((put) => ({ put })), ...(replace ? stale(stored.objects, objects) : [])],
    { actor, dryRun },
  )
  if (!dryRun) {
    for (const { key, change } of results)
      if (change !== 'unchanged') await audit(store, actor, `${key.kind}/${key.namespace}/${key.name}`, change, 'ok')
  }
  return { cursor, results, warnings: problems }
}

function stale(stored: readonly ObjectKey[], kept: readonly ObjectKey[]): StoreOp[] {
  const name = ({ kind, namespace, name }: ObjectKey) => `${kind}/${namespace}/${name}`
  const staying = new Set(kept.map(name))
  return stored
    .filter((object) => !staying.has(name(object)))
    .map(({ kind, namespace, name }) => ({ delete: { kind, namespace, name } }))
}

function audit(store: Store, actor: string, subject: string, detail: string, result: 'ok' | 'refused'): Promise<void> {
  return store.audit.append({ at: Date.now(), actor, verb: 'apply', subject, detail, result })
}
