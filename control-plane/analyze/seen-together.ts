import { type Exported, isVisible } from '../translate/visibility.ts'

/** Whether any namespace sees both. */
export function seenTogether(a: Exported, b: Exported): boolean {
  const viewers = [a.home, b.home, ...(a.exportTo ?? []), ...(b.exportTo ?? []), '*']
  // "." and "~" are nobody's name.
  return viewers.some((viewer) => !/^[.~]$/.test(viewer) && isVisible(a, viewer) && isVisible(b, viewer))
}
