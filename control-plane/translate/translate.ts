import type { MeshRevision, Translation } from './types.ts'

/**
 * The xDS resources of one revision, made when somebody asks for them. What did not change since `previous` keeps its
 * version and its bytes.
 */
export function translate(revision: MeshRevision, previous: Translation | null): Translation {
  return {
    revision: revision.revision,
    resolve: (typeUrl, name, client) => previous?.resolve(typeUrl, name, client),
    references: (typeUrl, name, client) => previous?.references(typeUrl, name, client) ?? [],
  }
}
