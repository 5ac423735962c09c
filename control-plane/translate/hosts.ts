import { isIP } from 'node:net'

/** Names of services, as Istio expands and matches them. */

/**
 * The host that a rule in `namespace` means: a name without a dot is a service of that namespace; anything else (names
 * with dots, "*", IP addresses) stays as it is.
 */
export function expandHost(host: string, namespace: string, domain: string): string {
  const name = host.toLowerCase().replace(/\.$/, '')
  return name.includes('.') || name.includes('*') || isIP(name) !== 0 ? name : serviceHost(name, namespace, domain)
}

export function serviceHost(service: string, namespace: string, domain: string): string {
  return `${service}.${namespace}.svc.${domain}`.toLowerCase()
}

/** Whether `pattern` ("a.b", "*.b" or "*") covers `host`; "*.b" does not cover "b". */
export function hostCovers(pattern: string, host: string): boolean {
  if (pattern === '*') return true
  return pattern.startsWith('*.')
    ? host.endsWith(pattern.slice(1)) && host.length > pattern.length - 1
    : pattern === host
}

/** Of the patterns that cover `host`, the one that says most about it: itself, then the longest wildcard. */
export function mostSpecificHost(patterns: Iterable<string>, host: string): string | undefined {
  let best: string | undefined
  for (const pattern of patterns) {
    if (!hostCovers(pattern, host)) continue
    if (!pattern.includes('*')) return pattern
    if (best === undefined || pattern.length > best.length) best = pattern
  }
  return best
}

/**
 * Where a name that a client in `namespace` dials may lead, first come first served: "payments" is a service of its own
 * namespace, "payments.shop" and "payments.shop.svc" of another one; a name of any shape may also be a host of its own.
 */
export function dialledHosts(host: string, namespace: string, domain: string): string[] {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (isIP(name) !== 0) return [name]
  const parts = name.split('.')
  if (parts.length === 1) return [serviceHost(name, namespace, domain), name]
  const [service, other] = parts as [string, string]
  const short = parts.length === 2 || (parts.length === 3 && parts[2] === 'svc')
  return short ? [serviceHost(service, other, domain), name] : [name]
}

export interface Authority {
  /** Lower case, without brackets. */
  readonly host: string
  /** 80 when the authority names none. */
  readonly port: number
}

/** Reads "host", "host:port", "[v6]" or "[v6]:port"; undefined if it is none of them. */
export function parseAuthority(authority: string): Authority | undefined {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s/?#@[\]:%|]+))(?::(\d{1,5}))?$/.exec(authority.toLowerCase())
  if (match === null) return undefined
  const [, v6, name, port] = match
  if (v6 !== undefined && isIP(v6) !== 6) return undefined
  const number = port === undefined ? 80 : Number(port)
  return number >= 1 && number <= 65_535 ? { host: v6 ?? name!, port: number } : undefined
}
