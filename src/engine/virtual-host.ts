/** Finds the virtual host of an authority: exact > longest "*suffix" > longest "prefix*" > "*" (Envoy VirtualHost.domains). */
export class DomainIndex<T> {
  private readonly exact = new Map<string, T>()
  private readonly suffixes = new PatternIndex<T>((name, length) => name.slice(-length))
  private readonly prefixes = new PatternIndex<T>((name, length) => name.slice(0, length))
  private rest: T | undefined

  /** The first to claim a domain keeps it. */
  add(domain: string, host: T): void {
    const text = domain.toLowerCase()
    if (text === '*') this.rest ??= host
    else if (text.startsWith('*')) this.suffixes.add(text.slice(1), host)
    else if (text.endsWith('*')) this.prefixes.add(text.slice(0, -1), host)
    else if (!this.exact.has(text)) this.exact.set(text, host)
  }

  /** `authority` in lower case, as dialled. Its port counts only where a domain names one. */
  find(authority: string): T | undefined {
    const known = this.exact.get(authority)
    if (known !== undefined) return known
    const bare = withoutPort(authority)
    return (
      this.exact.get(bare) ?? this.suffixes.find(authority, bare) ?? this.prefixes.find(authority, bare) ?? this.rest
    )
  }
}

/** Patterns by their length: a thousand of them are as many look-ups as they have lengths. */
class PatternIndex<T> {
  private readonly cut: (name: string, length: number) => string
  /** Longest first. */
  private readonly groups: { readonly length: number; readonly hosts: Map<string, T> }[] = []

  constructor(cut: (name: string, length: number) => string) {
    this.cut = cut
  }

  add(text: string, host: T): void {
    let group = this.groups.find(({ length }) => length === text.length)
    if (group === undefined) {
      group = { length: text.length, hosts: new Map() }
      this.groups.push(group)
      this.groups.sort((a, b) => b.length - a.length)
    }
    if (!group.hosts.has(text)) group.hosts.set(text, host)
  }

  find(authority: string, bare: string): T | undefined {
    for (const { length, hosts } of this.groups) {
      // The star stands for at least one character.
      const found = bare.length > length ? hosts.get(this.cut(bare, length)) : undefined
      if (found !== undefined) return found
      if (authority.length <= length || authority.length === bare.length) continue
      const text = this.cut(authority, length)
      const withPort = text.includes(':') ? hosts.get(text) : undefined
      if (withPort !== undefined) return withPort
    }
    return undefined
  }
}

/** What a service is called by its callers: of `xds://authority/name` (gRFC A47) the name. */
export function nameOf(authority: string): string {
  return authority.startsWith('xds://') ? authority.slice(authority.indexOf('/', 6) + 1) : authority
}

export function withoutPort(authority: string): string {
  const at = authority.lastIndexOf(':')
  return at > authority.lastIndexOf(']') && at >= 0 ? authority.slice(0, at) : authority
}
