/**
 * exportTo of VirtualService, DestinationRule and ServiceEntry: who sees an object of namespace `home`. Absent and empty
 * lists are `fallback`, which MeshConfig may set per kind (`index.settings.defaultExportTo`).
 */
export interface Exported {
  readonly home: string
  readonly exportTo: readonly string[] | undefined
  /** Default ["*"]. */
  readonly fallback?: readonly string[]
}

/** How near an object is to a viewer: 'private' (own namespace, named), 'exported' (named) or 'public' ("*"). */
export type Visibility = 'private' | 'exported' | 'public'

/** undefined = not visible from that namespace. */
export function visibilityFrom(
  { home, exportTo, fallback = everyone }: Exported,
  viewer: string,
): Visibility | undefined {
  const list = exportTo === undefined || exportTo.length === 0 ? fallback : exportTo
  if (list.includes('*')) return 'public'
  if (viewer === home) return list.includes('.') || list.includes(home) ? 'private' : undefined
  return list.includes(viewer) ? 'exported' : undefined
}

export function isVisible(object: Exported, viewer: string): boolean {
  return visibilityFrom(object, viewer) !== undefined
}

/**
 * The objects that a namespace sees, in Istio's order of VirtualServices: private ones, then those exported to it by
 * name, then public ones; the order within each stays.
 */
export function visibleInOrder<T>(objects: readonly T[], exported: (object: T) => Exported, viewer: string): T[] {
  const groups: Record<Visibility, T[]> = { private: [], exported: [], public: [] }
  for (const object of objects) {
    const visibility = visibilityFrom(exported(object), viewer)
    if (visibility !== undefined) groups[visibility].push(object)
  }
  return [...groups.private, ...groups.exported, ...groups.public]
}

const everyone = ['*'] as const
