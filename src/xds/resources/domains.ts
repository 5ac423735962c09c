import type { Field } from './field.ts'

/**
 * Domains of one virtual host in lower case: exact, "*suffix", "prefix*" or "*", one star at most and only at an end
 * (Envoy VirtualHost.domains, gRFC A27). `taken` holds those of the virtual hosts before: each may appear once.
 */
export function domains(field: Field, patterns: readonly string[], taken: Set<string>): string[] {
  if (patterns.length === 0) field.fail('must not be empty')
  return field.map(patterns, (pattern, at) => {
    const domain = pattern.toLowerCase()
    if (domain === '') at.fail('must not be empty')
    const star = domain.indexOf('*')
    if (star !== domain.lastIndexOf('*') || (star > 0 && star < domain.length - 1))
      at.fail(`"${pattern}" may have one "*", at its start or end`)
    if (taken.has(domain)) at.fail(`"${pattern}" appears twice in the resource`)
    taken.add(domain)
    return domain
  })
}
