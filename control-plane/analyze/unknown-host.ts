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
  if (world.isKnown(host) || reportDots(subject, world, code, service, path)) return
  const isOutside = !host.endsWith(`.svc.${world.settings.domain}`)
  const message = `no workload has registered as ${host} yet${isOutside ? ', nor does a ServiceEntry declare it' : ''}`
  if (world.registryKnown) subject.report('warning', code, path, message)
  else if (!world.isSpokenOf(host))
    subject.report('warning', code, path, `nothing in these files is about ${host}: is the name right?`)
}

/**
 * Says that a name like "payments.shop" is taken as it is, where a service has that name once it is completed: rules
 * complete only names without a dot.
 *
 * @returns whether that was so
 */
export function reportDots(
  subject: Pick<Subject<KindName>, 'report'>,
  world: World,
  code: string,
  name: string,
  path: FieldPath,
): boolean {
  if (!name.includes('.') || world.isKnown(name)) return false
  const { domain } = world.settings
  const full = [`${name}.svc.${domain}`, `${name}.${domain}`].find((completed) => world.isKnown(completed))
  if (full === undefined) return false
  subject.report('warning', code, path, 'is no service: a name with a dot in it is taken as it is, as in Istio', full)
  return true
}
