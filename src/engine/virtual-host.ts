/** Finds the virtual host of an authority: exact > longest "*suffix" > longest "prefix*" > "*" (Envoy VirtualHost.domains). */
export class DomainIndex<T> {
  private readonly exact = new Map<string, T>()
  private readonly suffixes: (readonly [string, T])[] = []
  private readonly prefixes: (readonly [string, T])[] = []
  private rest: T | undefined

  /** The first to claim a domain keeps it. */
  add(domain: string, host: T): void {
    const text = domain.toLowerCase()
    if (text === '*') this.rest ??= host
    else if (text.startsWith('*')) insert(this.suffixes, text.slice(1), host)
    else if (text.endsWith('*')) insert(this.prefixes, text.slice(0, -1), host)
    else if (!this.exact.has(text)) this.exact.set(text, host)
  }

  /** `authority` in lower case, as dialled. Its port counts only where a domain names one. */
  find(authority: string): T | undefined {
    const known = this.exact.get(authority)
    if (known !== undefined) return known
    const bare = withoutPort(authority)
    return this.exact.get(bare) ?? this.pattern(authority, bare) ?? this.rest
  }

  private pattern(authority: string, bare: string): T | undefined {
    // The star stands for at least one character.
    for (const [text, host] of this.suffixes) {
      const name = text.includes(':') ? authority : bare
      if (name.length > text.length && name.endsWith(text)) return host
    }
    for (const [text, host] of this.prefixes) {
      const name = text.includes(':') ? authority : bare
      if (name.length > text.length && name.startsWith(text)) return host
    }
    return undefined
  }
}

/** Keeps the longest first. */
function insert<T>(list: (readonly [string, T])[], text: string, host: T): void {
  if (list.some(([other]) => other === text)) return
  list.push([text, host])
  list.sort((a, b) => b[0].length - a[0].length)
}

export function withoutPort(authority: string): string {
  const at = authority.lastIndexOf(':')
  return at > authority.lastIndexOf(']') && at >= 0 ? authority.slice(0, at) : authority
}
