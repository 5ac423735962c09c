import * as z from 'zod'
import { checkParents, isServiceParent, type ParentRef, parentRefs } from './gateway-api.ts'
import { type Report, type UnsupportedField, unsupported } from './kind.ts'

/** What all routes of the Gateway API have besides their rules. */
export const gatewayRouteFields = {
  parentRefs,
  hostnames: z.array(z.string()).max(16).default([]),
}

export const unsupportedInGatewayRoutes: readonly UnsupportedField[] = [
  ...unsupported('warning', '', 'useDefaultGateways'),
  ...unsupported('warning', 'rules[]', 'sessionPersistence', 'has no effect: use consistentHash of a DestinationRule'),
]

interface GatewayRoute {
  readonly parentRefs: readonly ParentRef[]
  readonly hostnames: readonly string[]
  readonly rules: readonly { readonly name?: string | undefined }[]
}

/** Of one namespace: its parents and hosts, and that no two rules have one name. */
export function checkGatewayRoute(
  { parentRefs, hostnames, rules }: GatewayRoute,
  namespace: string,
  report: Report,
): void {
  checkParents(parentRefs, namespace, report)
  if (hostnames.length > 0 && parentRefs.some(isServiceParent))
    report('warning', ['hostnames'], 'has no effect on calls inside the mesh: their host is the parent')
  rules.forEach(({ name }, index) => {
    if (name !== undefined && rules.findIndex((other) => other.name === name) < index)
      report('error', ['rules', index, 'name'], `"${name}" is the name of a rule before it`)
  })
}
