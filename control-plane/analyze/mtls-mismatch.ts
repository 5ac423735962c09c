import { hostCovers, mostSpecificHost } from '../translate/hosts.ts'
import { selects } from '../translate/peer-authentication.ts'
import type { Analyzer } from './analyzer.ts'
import { tlsBlocks } from './tls-blocks.ts'
import type { World } from './world.ts'

/** What a DestinationRule makes callers send and what PeerAuthentication makes servers take. */
export const mtlsMismatch: Analyzer = {
  codes: {
    KIA0205: 'callers of the whole mesh use mutual TLS, servers take plaintext only',
    KIA0206: 'callers of a host or namespace use mutual TLS, its servers take plaintext only',
    KIA0207: 'callers of a host or namespace send plaintext, its servers take mutual TLS only',
    KIA0208: 'callers of the whole mesh send plaintext, servers take mutual TLS only',
  },
  checks: {
    DestinationRule({ spec, namespace, report }, world) {
      const blocks = tlsBlocks(spec)
      if (blocks.length === 0) return
      const pattern = world.host(spec.host, namespace)
      const place = scopeOf(pattern, world)
      if (place === undefined) return
      const { services } = world.index
      const covered = place.wildcard
        ? [...services.values()].filter(({ host }) => decides(pattern, host, world))
        : [services.get(pattern)].filter((service) => service !== undefined)
      const endpoints = covered.flatMap((service) => service.endpoints)
      for (const { mode, path, labels } of blocks) {
        const servers = endpoints.filter((endpoint) => selects(labels, endpoint.labels))
        const modes = world.tlsModes(servers, place.namespace, labels)
        if (mode === 'ISTIO_MUTUAL' && modes.has('DISABLE')) {
          const message = `${place.whose} take plaintext only (PeerAuthentication): calls fail`
          report('error', place.isMesh ? 'KIA0205' : 'KIA0206', [...path, 'mode'], message)
        }
        if (mode !== 'ISTIO_MUTUAL' && modes.has('STRICT')) {
          const message = `${place.whose} take the mesh's mutual TLS only (PeerAuthentication): calls fail`
          report('error', place.isMesh ? 'KIA0208' : 'KIA0207', [...path, 'mode'], message)
        }
      }
    },
  },
}

/** Whether no rule is more about `host` than those of `pattern`. */
function decides(pattern: string, host: string, world: World): boolean {
  const patterns = world
    .destinationRulesCovering(host)
    .map(({ spec, object }) => world.host(spec.host, object.namespace))
  return mostSpecificHost(patterns, host) === pattern
}

/** Whose servers a host names; undefined for hosts outside of the mesh. */
function scopeOf(pattern: string, { settings, index }: World) {
  const { domain, rootNamespace } = settings
  if (pattern.includes('*') && hostCovers(pattern, `x.svc.${domain}`))
    return { wildcard: true, isMesh: true, namespace: rootNamespace, whose: 'servers of the mesh' }
  const suffix = `.svc.${domain}`
  const known = index.services.get(pattern)
  // PeerAuthentication is for servers that register themselves.
  if (known === undefined ? !pattern.endsWith(suffix) : known.declared !== null) return undefined
  const namespace = known?.namespace ?? pattern.slice(0, -suffix.length).split('.').at(-1)!
  return { wildcard: pattern.includes('*'), isMesh: false, namespace, whose: `servers of ${pattern}` }
}
