import type { FieldPath } from '../resources/document.ts'
import type { KindName } from '../resources/kinds.ts'
import type { Subject } from './analyzer.ts'
import type { World } from './world.ts'

/**
 * Says that nobody has ever registered as `service`. Where only files are there, which services exist is not known: then it
 * is enough that any object is about it.
 */
export function reportUnknownHost(
  subject: Pick<Subject<KindName>, 'namespace' | 'report'>,
  world: World,
  code: string,
  service: string,
  path: FieldPath,
): void {
  const host = world.host(service, subject.namespace)
  if (world.isRegistered(host)) return
  if (world.registryKnown) subject.report('warning', code, path, `no workload has registered as ${host} yet`)
  else if (!world.isSpokenOf(host))
    subject.report('warning', code, path, `nothing in these files is about ${host}: is the name right?`)
}
