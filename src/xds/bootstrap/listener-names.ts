import type { Bootstrap } from './bootstrap.ts'

/**
 * The name of the Listener that answers for what is dialled (gRFC A47). `payments:8080` goes by the default template,
 * `xds://authority/payments` by that of its authority. In names that begin with `xdstp:` what is put in is percent-encoded.
 *
 * istiod (metadata GENERATOR "grpc") knows services by host and port only, and URLs leave port 80 out: there it is put in.
 */
export class ListenerNames {
  readonly #bootstrap: Pick<Bootstrap, 'clientTemplate' | 'serverTemplate' | 'authorities'>
  readonly #defaultPort: string

  constructor(bootstrap: Pick<Bootstrap, 'clientTemplate' | 'serverTemplate' | 'authorities' | 'node'>) {
    this.#bootstrap = bootstrap
    this.#defaultPort = bootstrap.node.metadata.GENERATOR === 'grpc' ? ':80' : ''
  }

  /** undefined = it names an authority that the bootstrap does not have. */
  client(dialled: string): string | undefined {
    const federated = /^xds:\/\/([^/]+)\/(.*)$/s.exec(dialled)
    if (federated === null) return fill(this.#bootstrap.clientTemplate, this.#withPort(dialled))
    const authority = this.#bootstrap.authorities.get(decode(federated[1]!))
    return authority === undefined ? undefined : fill(authority.clientTemplate, this.#withPort(federated[2]!))
  }

  /** null = the bootstrap has no template for servers. */
  server(address: string, port: number): string | null {
    const { serverTemplate } = this.#bootstrap
    if (serverTemplate === null) return null
    return fill(serverTemplate, `${address.includes(':') ? `[${address}]` : address}:${port}`)
  }

  #withPort(name: string): string {
    return /:[0-9]+$/.test(name) ? name : name + this.#defaultPort
  }
}

function fill(template: string, name: string): string {
  const value = template.startsWith('xdstp:') ? encodePath(name) : name
  return template.replaceAll('%s', () => value)
}

/** What may stand in a path (RFC 3986 section 3.3) stays: A47 has "/" and ":" as they are. */
function encodePath(name: string): string {
  return name.replace(/[^A-Za-z0-9\-._~!$&'()*+,;=:@/]/gu, (c) =>
    encodeURIComponent(c).replace(/[!'()*]/g, (x) => `%${x.charCodeAt(0).toString(16).toUpperCase()}`),
  )
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // No encoding: it stands for itself.
    return text
  }
}

/** Authority of an `xdstp://authority/type/id` name; '' = of every other name. */
export function authorityOf(resource: string): string {
  const found = /^xdstp:\/\/([^/]*)\//.exec(resource)
  return found === null ? '' : decode(found[1]!)
}
