import type { Problem } from '../../src/errors.ts'
import { runAnalyzers } from '../analyze/run.ts'
import { World } from '../analyze/world.ts'
import type { ObjectInput, StoreSnapshot } from '../store/store.ts'
import { documentOf, type FieldPath, formatPath, type SourceDocument } from './document.ts'
import { isKubernetesKind, notYetKinds } from './foreign-kinds.ts'
import type { Kind } from './kind.ts'
import { kinds } from './kinds.ts'
import { fromConfigMap } from './mesh-config-map.ts'
import { metadataSchema, type ObjectMetadata } from './metadata.ts'
import { toDocument } from './output.ts'
import { parseSpec, type SpecProblem, zodProblems } from './parse-spec.ts'
import { suggest } from './suggest.ts'

/** What a batch is checked against. */
export type ExistingState = {
  readonly [Part in 'objects' | 'endpoints' | 'services']: Readonly<StoreSnapshot[Part]>
}

export interface ValidateOptions {
  /** Of objects that name none. Default "default". */
  readonly namespace?: string
  /** Default "istio-system". */
  readonly rootNamespace?: string
  /** Domain of service names. Default "cluster.local". */
  readonly domain?: string
  /** That the control plane was started with. Default "cluster.local". */
  readonly trustDomain?: string
  /** 'all' = every analyzer, as `inmesh analyze`; 'apply' (default) = those that tell whoever applies. */
  readonly analyzers?: 'apply' | 'all'
  /** Whether `existing` says who is there. Default true. */
  readonly registryKnown?: boolean
  /** Look at what is stored as well, where the documents do not replace it. Default false. */
  readonly checkExisting?: boolean
}

/** Code of the notice about objects that are for Kubernetes. */
export const SKIPPED = 'INM0001'

export interface ValidatedBatch {
  /** What to store; empty when any problem is an error: a batch is applied whole or not at all. */
  readonly objects: ObjectInput[]
  /** In the order of the text. */
  readonly problems: Problem[]
}

/** An object of the batch with its way back to the text. */
export interface Candidate {
  readonly input: ObjectInput
  readonly kind: Kind
  /** Parsed. */
  readonly spec: unknown
  /** As written, though nothing of it counts: what another control plane said about it. */
  readonly status: unknown
  /** `path` inside `root`, by default inside `spec`. */
  report(finding: Finding, root?: 'spec' | 'status'): void
}

export interface Finding {
  readonly severity: Problem['severity']
  /** [] = the object as a whole. */
  readonly path: FieldPath
  readonly message: string
  readonly suggestion?: string | undefined
  readonly code?: string | undefined
}

/** Checks documents one by one, then against each other and against what is stored. Never throws. */
export function validateBatch(
  documents: readonly SourceDocument[],
  existing: ExistingState,
  options: ValidateOptions = {},
): ValidatedBatch {
  const settings = {
    namespace: options.namespace ?? 'default',
    rootNamespace: options.rootNamespace ?? 'istio-system',
    domain: options.domain ?? 'cluster.local',
    trustDomain: options.trustDomain ?? 'cluster.local',
  }
  const problems: Problem[] = []
  const candidates = documents.flatMap((document) => readDocument(fromConfigMap(document), settings, problems) ?? [])
  const seen = new Map<string, Candidate>()
  for (const candidate of candidates) {
    const { kind, namespace, name } = candidate.input
    const key = `${kind}/${namespace}/${name}`
    if (seen.has(key)) candidate.report({ severity: 'error', path: [], message: 'is in this batch twice' })
    seen.set(key, candidate)
  }
  if (options.checkExisting === true)
    for (const object of existing.objects) {
      const document = documentOf(toDocument(object))
      const isReplaced = seen.has(`${object.kind}/${object.namespace}/${object.name}`)
      const candidate = isReplaced ? undefined : readDocument(document, settings, problems)
      if (candidate !== undefined) candidates.push(candidate)
    }
  const world = new World(candidates, existing, { ...settings, registryKnown: options.registryKnown ?? true })
  runAnalyzers(candidates, world, options.analyzers ?? 'apply')
  // Stable: problems of one place stay in the order in which they were found.
  const files = [...new Set(problems.map((problem) => problem.file))]
  problems.sort((a, b) => files.indexOf(a.file) - files.indexOf(b.file) || (a.line ?? 0) - (b.line ?? 0))
  const refused = problems.some((problem) => problem.severity === 'error')
  return { objects: refused ? [] : candidates.map((candidate) => candidate.input), problems }
}

interface Settings {
  readonly namespace: string
  readonly rootNamespace: string
  readonly trustDomain: string
}

function readDocument(document: SourceDocument, settings: Settings, problems: Problem[]): Candidate | undefined {
  const add = (p: SpecProblem, prefix: FieldPath, subject?: string, place: FieldPath = [...prefix, ...p.path]) => {
    const path = [...prefix, ...p.path]
    const position = document.locate(place, p.at)
    problems.push({
      severity: p.severity,
      message: p.message,
      ...(subject === undefined ? {} : { subject }),
      ...(path.length === 0 ? {} : { field: formatPath(path) }),
      ...(document.file === undefined ? {} : { file: document.file }),
      ...position,
      ...(p.suggestion === undefined ? {} : { suggestion: p.suggestion }),
      ...(p.code === undefined ? {} : { code: p.code }),
    })
  }
  const fail = (path: FieldPath, message: string, suggestion?: string) =>
    add({ severity: 'error', path, at: 'value', message, ...(suggestion === undefined ? {} : { suggestion }) }, [])

  const value = document.value
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    fail([], 'a document must be a mapping with apiVersion, kind, metadata and spec')
    return undefined
  }
  const { apiVersion, kind: kindName, metadata, spec, status, ...rest } = value as Record<string, unknown>
  if (typeof apiVersion !== 'string') return void fail(['apiVersion'], 'is required and must be text')
  if (typeof kindName !== 'string') return void fail(['kind'], 'is required and must be text')
  if (isKubernetesKind(apiVersion, kindName)) {
    const message = `skipped: ${kindName} objects are for Kubernetes, workloads of the mesh register themselves`
    add({ severity: 'warning', path: [], at: 'value', message, code: SKIPPED }, [], `${kindName}/${nameIn(metadata)}`)
    return undefined
  }
  const kind = findExact(apiVersion, kindName, fail)
  if (kind === undefined) return undefined

  const failures = problems.length
  const meta = metadataSchema.safeParse(metadata ?? {}, { reportInput: true })
  const parsed = parseSpec(kind, spec)
  const home = kind.scope === 'mesh' ? settings.rootNamespace : settings.namespace
  const { namespace = home, labels = {}, annotations = {} } = (meta.data ?? {}) as Partial<ObjectMetadata>
  const name = (meta.data as ObjectMetadata | undefined)?.name ?? defaultName(kind, parsed.spec)
  const subject = `${kind.kind}/${namespace}/${name ?? nameIn(metadata)}`
  for (const key of Object.keys(rest)) {
    const hint = suggest(key, ['apiVersion', 'kind', 'metadata', 'spec'])
    const message = 'unknown field'
    add(
      { severity: 'error', path: [key], at: 'key', message, ...(hint === undefined ? {} : { suggestion: hint }) },
      [],
      subject,
    )
  }
  if (!meta.success) for (const p of zodProblems(meta.error, metadataSchema)) add(p, ['metadata'], subject)
  else if (name === undefined && (kind.defaultName === undefined || parsed.spec !== undefined))
    add({ severity: 'error', path: ['metadata', 'name'], at: 'value', message: 'is required' }, [], subject)
  if (kind.scope === 'mesh' && meta.success)
    for (const [field, value, expected] of [
      ['namespace', namespace, settings.rootNamespace],
      ['name', name, 'default'],
    ] as const)
      if (value !== expected) {
        const message = `must be "${expected}": there is one ${kind.kind} for the whole mesh`
        add({ severity: 'error', path: ['metadata', field], at: 'value', message }, [], subject)
      }
  const inText = (path: FieldPath) => ['spec', ...asWritten(path, spec, kind)]
  for (const p of parsed.problems) add(p, ['spec'], subject, inText(p.path))
  const report: Candidate['report'] = ({ severity, path, message, suggestion, code }, root = 'spec') => {
    const more = { ...(suggestion === undefined ? {} : { suggestion }), ...(code === undefined ? {} : { code }) }
    const place = path.length === 0 ? [] : root === 'spec' ? inText(path) : [root, ...path]
    add({ severity, path, at: 'value', message, ...more }, path.length === 0 ? [] : [root], subject, place)
  }
  if (parsed.spec !== undefined)
    kind.check?.(
      parsed.spec,
      (severity, path, message, suggestion, code) => report({ severity, path, message, suggestion, code }),
      {
        ...{ namespace, annotations },
        ...{ rootNamespace: settings.rootNamespace, trustDomain: settings.trustDomain },
      },
    )
  if (problems.slice(failures).some((p) => p.severity === 'error') || name === undefined) return undefined
  const input: ObjectInput = {
    kind: kind.kind,
    namespace,
    name,
    apiVersion,
    labels,
    annotations,
    spec: parsed.canonical,
  }
  return { input, kind, spec: parsed.spec, status, report }
}

function findExact(
  apiVersion: string,
  kindName: string,
  fail: (path: FieldPath, message: string, suggestion?: string) => void,
): Kind | undefined {
  const kind = kinds.find((k) => k.kind === kindName)
  if (kind === undefined) {
    const known = kinds.map((k) => k.kind)
    if (notYetKinds.has(kindName)) fail(['kind'], `${kindName} is not supported yet`)
    else fail(['kind'], `unknown kind "${kindName}"; known are ${known.join(', ')}`, suggest(kindName, known))
    return undefined
  }
  if (kind.apiVersions.includes(apiVersion)) return kind
  fail(
    ['apiVersion'],
    `"${apiVersion}" is not an apiVersion of ${kind.kind}; known are ${kind.apiVersions.join(', ')}`,
    suggest(apiVersion, kind.apiVersions),
  )
  return undefined
}

function defaultName(kind: Kind, spec: unknown): string | undefined {
  if (kind.scope === 'mesh') return 'default'
  return spec === undefined ? undefined : kind.defaultName?.(spec)
}

function nameIn(metadata: unknown): string {
  const name = typeof metadata === 'object' && metadata !== null && 'name' in metadata ? metadata.name : undefined
  return typeof name === 'string' ? name : '(no name)'
}

/** The path with the first field as it is spelled in the text. */
function asWritten(path: FieldPath, spec: unknown, kind: Kind): FieldPath {
  const [first, ...rest] = path
  if (first === undefined || kind.aliases === undefined || typeof spec !== 'object' || spec === null) return path
  if (Object.hasOwn(spec, first)) return path
  const alias = Object.keys(spec).find((key) => kind.aliases?.[key] === first)
  return alias === undefined ? path : [alias, ...rest]
}
