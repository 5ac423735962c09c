import { type Position, parseDocuments, type SourceDocument } from './document.ts'

/**
 * Istio keeps its MeshConfig as text in a ConfigMap (`data.mesh`). Such a document is read as the MeshConfig in it, with
 * the places of its fields; every other document, and one whose text cannot be read, comes back as it is.
 */
export function fromConfigMap(document: SourceDocument): SourceDocument {
  const { value } = document
  if (typeof value !== 'object' || value === null || !('kind' in value) || value.kind !== 'ConfigMap') return document
  const { data, metadata } = value as { data?: unknown; metadata?: unknown }
  if (typeof data !== 'object' || data === null || !('mesh' in data) || typeof data.mesh !== 'string') return document
  const inner = parseDocuments(data.mesh, document.file).documents[0]
  if (inner === undefined) return document
  const { namespace } = (metadata ?? {}) as { namespace?: unknown }
  return {
    value: {
      apiVersion: 'mesh.istio.io/v1alpha1',
      kind: 'MeshConfig',
      metadata: { name: 'default', ...(namespace === undefined ? {} : { namespace }) },
      spec: inner.value,
    },
    ...(document.file === undefined ? {} : { file: document.file }),
    locate: (path, at) => {
      if (path[0] !== 'spec') return document.locate(path, at)
      const key = document.locate(['data', 'mesh'], 'key')
      const place = inner.locate(path.slice(1), at)
      return key === undefined || place === undefined ? key : inBlock(key, place)
    },
  }
}

/** The lines of a block scalar begin below its key; its indentation is taken to be two, as everybody writes it. */
function inBlock(key: Position, inner: Position): Position {
  return { line: key.line + inner.line, column: key.column + 1 + inner.column }
}
