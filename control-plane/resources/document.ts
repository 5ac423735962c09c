import {
  Composer,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  LineCounter,
  type Pair,
  Parser,
} from 'yaml'
import type { Problem } from '../../src/errors.ts'

export type FieldPath = readonly (string | number)[]

export interface Position {
  /** 1-based. */
  readonly line: number
  readonly column: number
}

/** One YAML or JSON document as plain data, able to say where in the text a field stands. */
export interface SourceDocument {
  readonly value: unknown
  readonly file?: string
  /**
   * Where the value at `path` starts, or, with 'key', its key; of a path that does not exist, its nearest ancestor.
   * undefined for documents that did not come from text.
   */
  locate(path: FieldPath, at?: 'key' | 'value'): Position | undefined
}

export interface ParseLimits {
  /** Default 4 MiB. */
  readonly bytes: number
  /** Collections inside collections. Default 64. */
  readonly depth: number
  /** Entries of one mapping. Default 2,000: looking for duplicate keys is quadratic. */
  readonly keys: number
  /** Nodes that aliases may stand for, in all. Default 100. */
  readonly aliases: number
}

export const parseLimits: ParseLimits = { bytes: 4 * 1024 * 1024, depth: 64, keys: 2_000, aliases: 100 }

export interface ParsedDocuments {
  readonly documents: SourceDocument[]
  /** Syntax errors and warnings; a document with an error is not in `documents`. */
  readonly problems: Problem[]
}

/** A document that did not come from text (the JSON body of a request). */
export function documentOf(value: unknown): SourceDocument {
  return { value, locate: () => undefined }
}

/**
 * Reads YAML 1.2 (core schema; JSON is a part of it): several documents, and Kubernetes `List`s taken apart. Never
 * throws: what cannot be read is a problem with its place.
 */
export function parseDocuments(text: string, file?: string, limits: ParseLimits = parseLimits): ParsedDocuments {
  const problems: Problem[] = []
  const documents: SourceDocument[] = []
  const place = file === undefined ? {} : { file }
  if (Buffer.byteLength(text) > limits.bytes) {
    problems.push({ severity: 'error', message: `the text is longer than ${limits.bytes} bytes`, ...place })
    return { documents, problems }
  }
  const lines = new LineCounter()
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const report: Report = (severity, message, offset, path = []) => {
    const field = path.length === 0 ? {} : { field: formatPath(path) }
    if (problems.length < maxProblems) problems.push({ severity, message, ...field, ...place, ...at(offset) })
  }

  const tokens = [...new Parser(lines.addNewLine).parse(text)]
  const excess = findExcess(tokens, limits)
  if (excess !== undefined) {
    report('error', excess.message, excess.offset)
    return { documents, problems }
  }
  const composer = new Composer({ version: '1.2', schema: 'core', merge: false, uniqueKeys: true, prettyErrors: false })
  for (const document of composer.compose(tokens)) {
    const before = problems.length
    for (const error of document.errors)
      if (error.code === 'DUPLICATE_KEY')
        report('error', 'the key is there twice', error.pos[0], keyAt(document, error.pos[0]))
      else report('error', sentence(error.message), error.pos[0])
    if (document.errors.length > 0) continue
    inspect(document, report)
    if (problems.slice(before).some((p) => p.severity === 'error')) continue
    const value = toPlain(document, limits, report)
    // An empty document between two separators says nothing.
    if (value === undefined || value === null) continue
    documents.push(...takeApart({ value, ...place, locate: (path, what) => locate(document, path, what, at) }))
  }
  problems.sort((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
  return { documents, problems }
}

type Report = (severity: Problem['severity'], message: string, offset: number, path?: FieldPath) => void

/** A text that is broken throughout needs no longer list. */
const maxProblems = 100

function toPlain(document: Document.Parsed, limits: ParseLimits, report: Report): unknown {
  try {
    const value: unknown = document.toJS({ maxAliasCount: limits.aliases })
    // Aliases become copies, so that nothing is shared or circular.
    return value === undefined ? undefined : JSON.parse(JSON.stringify(value))
  } catch (error) {
    const reason = error instanceof TypeError ? 'an alias stands inside what it stands for' : String(error)
    report('error', error instanceof ReferenceError ? sentence(error.message) : reason, document.range[0])
    return undefined
  }
}

/** What all tokens of the parser have in common, as far as it matters here. */
interface Token {
  type: string
  offset: number
  items: unknown[]
  key: unknown
  value: unknown
  start: { source?: string }
}

/**
 * Depth and width, measured on the flat token tree without recursion, because composing and duplicate-key checks
 * are recursive and quadratic.
 */
function findExcess(tokens: readonly unknown[], limits: ParseLimits): { message: string; offset: number } | undefined {
  const stack: { token: unknown; depth: number }[] = tokens.map((token) => ({ token, depth: 0 }))
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { token, depth } = next
    if (typeof token !== 'object' || token === null) continue
    const { type, offset, items, value, key, start } = token as Partial<Token>
    const place = offset ?? 0
    if (depth > limits.depth) return { message: `nested deeper than ${limits.depth} levels`, offset: place }
    if (items !== undefined) {
      const sequence = type === 'block-seq' || start?.source === '['
      if (items.length > limits.keys && !sequence)
        return { message: `more than ${limits.keys} entries in one mapping`, offset: place }
      for (const item of items) stack.push({ token: item, depth: depth + 1 })
    }
    if (typeof value === 'object') stack.push({ token: value, depth })
    if (typeof key === 'object') stack.push({ token: key, depth })
  }
  return undefined
}

/** YAML 1.1, which kubectl and istioctl still read, takes these for booleans. */
const yaml11Boolean = /^(?:y|n|yes|no|on|off)$/i

/** What is wrong with a word without quotes that YAML 1.1 reads otherwise than YAML 1.2; undefined if nothing is. */
function yaml11Trap(source: string): string | undefined {
  if (yaml11Boolean.test(source))
    return `${source} without quotes is text here but a boolean to YAML 1.1 tools: quote it`
  if (/^[-+]?0[0-7]+$/.test(source))
    return `${source} is the number ${Number(source)} here but octal to YAML 1.1 tools: leave out the leading 0, or quote it`
  if (/^0o[0-7]+$/.test(source))
    return `${source} is the number ${Number(source)} here but text to YAML 1.1 tools: write it in decimal, or quote it`
  return undefined
}

const coreTag = /^(?:!|tag:yaml\.org,2002:(?:str|int|float|bool|null|map|seq))$/

/** What is legal YAML and yet a trap. */
function inspect(document: Document.Parsed, report: Report): void {
  const stack: { node: unknown; path: FieldPath }[] = [{ node: document.contents, path: [] }]
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { node, path } = next
    if (isAlias(node) && node.resolve(document) === undefined)
      report(
        'error',
        `the alias *${node.source} stands for nothing: no &${node.source} before it`,
        node.range?.[0] ?? 0,
        path,
      )
    const tag = isNode(node) && !isAlias(node) ? node.tag : undefined
    if (tag !== undefined && !coreTag.test(tag)) {
      report('error', `the tag ${tag} is not supported`, isNode(node) ? (node.range?.[0] ?? 0) : 0)
    } else if (isPair(node)) {
      const inner = isScalar(node.key) ? [...path, String(node.key.value)] : path
      inspectKey(node, inner, report)
      stack.push({ node: node.value ?? undefined, path: inner })
    } else if (isCollection(node)) {
      const list = !isMap(node)
      node.items.forEach((item, index) => {
        stack.push({ node: item, path: list ? [...path, index] : path })
      })
    } else if (isScalar(node) && node.type === 'PLAIN') {
      const trap = yaml11Trap(String(node.source ?? ''))
      if (trap !== undefined) report('warning', trap, node.range?.[0] ?? 0, path)
    }
  }
}

function inspectKey(pair: Pair, path: FieldPath, report: Report): void {
  const key = pair.key
  const offset = isNode(key) ? (key.range?.[0] ?? 0) : 0
  if (!isScalar(key)) {
    report('error', isAlias(key) ? 'an alias cannot be a key here' : 'a key must be plain text', offset)
    return
  }
  const text = String(key.value)
  if (text === '__proto__') report('error', '__proto__ cannot be a key', offset)
  const trap = key.type === 'PLAIN' ? yaml11Trap(String(key.source ?? text)) : undefined
  if (trap !== undefined) report('warning', `the key ${trap}`, offset, path)
}

/** kubectl's `kind: List`: its items are documents of their own. */
function takeApart(document: SourceDocument): SourceDocument[] {
  const { value } = document
  if (typeof value !== 'object' || value === null || !('kind' in value) || value.kind !== 'List') return [document]
  if (!('items' in value) || !Array.isArray(value.items)) return [document]
  return value.items.map((item: unknown, index) => ({
    value: item,
    ...(document.file === undefined ? {} : { file: document.file }),
    locate: (path, what) => document.locate(['items', index, ...path], what),
  }))
}

/** Path of the key that begins at `offset`. */
function keyAt(document: Document.Parsed, offset: number): FieldPath {
  const stack: { node: unknown; path: FieldPath }[] = [{ node: document.contents, path: [] }]
  for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
    const { node, path } = next
    if (isPair(node)) {
      const inner = isScalar(node.key) ? [...path, String(node.key.value)] : path
      if (isNode(node.key) && node.key.range?.[0] === offset) return inner
      stack.push({ node: node.value, path: inner })
    } else if (isCollection(node)) {
      const list = !isMap(node)
      node.items.forEach((item, index) => {
        stack.push({ node: item, path: list ? [...path, index] : path })
      })
    }
  }
  return []
}

function locate(
  document: Document.Parsed,
  path: FieldPath,
  what: 'key' | 'value' = 'value',
  at: (offset: number) => Position,
): Position {
  let node: unknown = document.contents
  let offset = document.contents?.range?.[0] ?? document.range[0]
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document)
    if (!isCollection(node)) break
    const pair = isMap(node)
      ? node.items.find((p) => isScalar(p.key) && String(p.key.value) === String(step))
      : undefined
    const child: unknown = pair === undefined ? node.get(step, true) : pair.value
    const keyNode = pair !== undefined && isNode(pair.key) ? pair.key : undefined
    const wanted = what === 'key' && index === path.length - 1 ? (keyNode ?? child) : (child ?? keyNode)
    if (!isNode(wanted)) break
    offset = wanted.range?.[0] ?? offset
    node = child
  }
  return at(offset)
}

/** "spec.http[0].route[1].weight". */
export function formatPath(path: FieldPath): string {
  return path.map((step, index) => (typeof step === 'number' ? `[${step}]` : index === 0 ? step : `.${step}`)).join('')
}

/** The parser's messages may run over several lines; ours are one. */
function sentence(message: string): string {
  return message.split('\n')[0]!.replace(/:$/, '')
}
