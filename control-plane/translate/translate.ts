import { PASSTHROUGH_CLUSTER, TRUST_BUNDLE_SECRET, TypeUrl } from '../../src/xds/proto.ts'
import type { StoredObject } from '../store/store.ts'
import { ResourceCache } from './cache.ts'
import { isForeign, keepsClusters, listenerMark } from './class.ts'
import { cluster, passthroughCluster, retryFloor } from './cluster.ts'
import { parseClusterName } from './cluster-name.ts'
import type { Built } from './encode.ts'
import { loadAssignment } from './endpoints.ts'
import { inboundAddress, inboundListener } from './inbound.ts'
import { inboundViewKey } from './inbound-policy.ts'
import { clientListener, dial, isAllowedByWildcard, isRoutable, routeNameOf } from './listener.ts'
import { destinationViewKey } from './localities.ts'
import { MeshIndex } from './mesh-index.ts'
import { rateLimitsKey } from './rate-limits.ts'
import { ALLOW_ANY, allowAny, BLOCK_ALL, blockAll, routeConfiguration } from './route.ts'
import { routeViewKey } from './routing.ts'
import { objectKey } from './rule.ts'
import { trustBundleSecret } from './secret.ts'
import type { ClientView, EncodedResource, MeshRevision, Translation } from './types.ts'

/**
 * The xDS resources of one revision, made when somebody asks for them. What did not change since `previous` keeps its
 * version and its bytes.
 */
export function translate(revision: MeshRevision, previous: Translation | null): Translation {
  const before = previous instanceof CachedTranslation ? previous : null
  const cache = before?.cache ?? new ResourceCache()
  cache.advance()
  // The same state of an object is one and the same value throughout, so that its spec is parsed once.
  const objects = new Map(revision.objects.map((o) => [objectKey(o), before?.objects.get(objectKey(o)) ?? o]))
  return new CachedTranslation(revision, objects, cache)
}

/** How to make a resource, and what makes it differ: between clients (`view`) and between revisions (`inputs`). */
interface Recipe {
  readonly view: string
  readonly inputs: () => string
  readonly build: () => Built
}

class CachedTranslation implements Translation {
  readonly revision: number
  readonly cache: ResourceCache
  readonly objects: ReadonlyMap<string, StoredObject>
  readonly #index: MeshIndex
  /** Made for this revision, by type, name and view. */
  readonly #built = new Map<string, Built>()

  constructor(revision: MeshRevision, objects: ReadonlyMap<string, StoredObject>, cache: ResourceCache) {
    this.revision = revision.revision
    this.objects = objects
    this.cache = cache
    this.#index = new MeshIndex({ ...revision, objects: [...objects.values()] })
  }

  resolve(typeUrl: string, name: string, client: ClientView): EncodedResource | undefined {
    return this.#get(typeUrl, name, client)?.resource
  }

  references(typeUrl: string, name: string, client: ClientView): readonly { typeUrl: string; name: string }[] {
    return this.#get(typeUrl, name, client)?.references ?? []
  }

  #get(typeUrl: string, name: string, client: ClientView): Built | undefined {
    const recipe = this.#recipe(typeUrl, name, client)
    if (recipe === undefined) return undefined
    const key = `${typeUrl}\n${name}\n${client.clientClass}\n${recipe.view}`
    let built = this.#built.get(key)
    if (built === undefined) {
      built = this.cache.get(key, recipe.inputs(), recipe.build)
      this.#built.set(key, built)
    }
    return built
  }

  #recipe(typeUrl: string, name: string, client: ClientView): Recipe | undefined {
    switch (typeUrl) {
      case TypeUrl.listener:
        return this.#listener(name, client)
      case TypeUrl.route:
        return this.#route(name, client)
      case TypeUrl.cluster:
        return this.#cluster(name, client)
      case TypeUrl.endpoints:
        return this.#endpoints(name, client)
      case TypeUrl.secret:
        if (name !== TRUST_BUNDLE_SECRET || isForeign(client.clientClass)) return undefined
        return { view: '', inputs: () => this.#index.bundlesKey, build: () => trustBundleSecret(this.#index) }
      default:
        return undefined
    }
  }

  #listener(name: string, client: ClientView): Recipe | undefined {
    const index = this.#index
    const address = inboundAddress(name, client)
    if (address !== undefined) {
      return {
        view: inboundViewKey(client),
        inputs: () => `${index.configKey} ${rateLimitsKey(index, client)}`,
        build: () => inboundListener(index, name, address, client),
      }
    }
    const dialled = dial(index, name, client)
    const allowed = dialled === 'unknown' && isAllowedByWildcard(index, name, client)
    const routeName = dialled === undefined ? undefined : routeNameOf(index, dialled, client, allowed)
    if (routeName === undefined) return undefined
    const mark = dialled === 'unknown' ? '' : listenerMark(client, index, dialled!.host)
    return {
      view: routeName,
      inputs: () => mark,
      build: () => clientListener(client.clientClass, name, routeName, mark),
    }
  }

  #route(name: string, client: ClientView): Recipe | undefined {
    const index = this.#index
    if (!isForeign(client.clientClass)) {
      if (name === ALLOW_ANY) return { view: '', inputs: constant, build: allowAny }
      if (name === BLOCK_ALL) return { view: '', inputs: constant, build: blockAll }
    }
    const parsed = parseClusterName(name)
    if (parsed === undefined || parsed.subset !== '' || !isRoutable(index, parsed.host, parsed.port, client))
      return undefined
    return {
      view: routeViewKey(index, parsed.host, client),
      inputs: () => index.configKey,
      build: () => routeConfiguration(index, parsed.host, parsed.port, client),
    }
  }

  #cluster(name: string, client: ClientView): Recipe | undefined {
    const index = this.#index
    if (name === PASSTHROUGH_CLUSTER)
      return isForeign(client.clientClass) ? undefined : { view: '', inputs: constant, build: passthroughCluster }
    const target = this.#target(name, client)
    if (target === undefined) return undefined
    const { host, subset, port } = target
    return {
      view: destinationViewKey(index, host, subset, port, client),
      inputs: () => `${index.configKey} ${retryFloor(index.instances)} ${endpointsKey(index, host)}`,
      build: () => cluster(index, host, subset, port, client),
    }
  }

  #endpoints(name: string, client: ClientView): Recipe | undefined {
    const index = this.#index
    const target = this.#target(name, client)
    if (target === undefined) return undefined
    const { host, subset, port } = target
    return {
      view: destinationViewKey(index, host, subset, port, client),
      inputs: () => `${index.configKey} ${endpointsKey(index, host)}`,
      build: () => loadAssignment(index, host, subset, port, client),
    }
  }

  /**
   * A cluster exists for every service, and for every host that a rule sends calls to (then without endpoints: 503). For
   * clients that must not lose one it stays when the rule goes.
   */
  #target(name: string, { clientClass }: ClientView) {
    const parsed = parseClusterName(name)
    if (parsed === undefined) return undefined
    const { services, destinations } = this.#index
    return services.has(parsed.host) || destinations.has(parsed.host) || keepsClusters(clientClass) ? parsed : undefined
  }
}

/** Of what depends on its name and view alone. */
const constant = () => ''

function endpointsKey(index: MeshIndex, host: string): string {
  return index.services.get(host)?.endpointsKey ?? ''
}
