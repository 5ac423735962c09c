import { type JsonSchema, specSchema } from '../control-plane/resources/json-schema.ts'
import type { Kind } from '../control-plane/resources/kind.ts'
import { kinds } from '../control-plane/resources/kinds.ts'

/** Pages of docs/reference by file name, generated from the schemas that validate. */
export function referencePages(): Map<string, string> {
  const pages = new Map(kinds.map((kind) => [`${kind.kind.toLowerCase()}.md`, page(kind)]))
  const rows = kinds.map((kind) => `| [${kind.kind}](${kind.kind.toLowerCase()}.md) | ${cell(kind.docs)} |`)
  const index = ['# Reference', '', generated, '', '| kind | what it says |', '|---|---|', ...rows, ''].join('\n')
  return pages.set('README.md', index)
}

const generated =
  'Generated from the schemas by `node scripts/emit-reference.ts`; `inmesh schema KIND` prints the same for editors.'

function page(kind: Kind): string {
  const { acted, ignored } = rows(specSchema(kind))
  const refused = kind.unsupported.filter((field) => field.severity === 'error').map((field) => `\`${field.path}\``)
  const aliases = Object.entries(kind.aliases ?? {}).map(([spelling, name]) => `\`${spelling}\` = \`${name}\``)
  return [
    `# ${kind.kind}`,
    '',
    generated,
    '',
    kind.docs,
    '',
    `- apiVersion: ${kind.apiVersions.map((version) => `\`${version}\``).join(', ')}`,
    `- on the command line: ${kind.names.map((name) => `\`${name}\``).join(', ')}`,
    ...(kind.scope === 'mesh' ? ['- one object for the mesh: namespace = root namespace, name `default`'] : []),
    '',
    '| field of `spec` | type | default | meaning |',
    '|---|---|---|---|',
    ...acted,
    ...(aliases.length === 0 ? [] : ['', `Other spellings: ${aliases.join(', ')}.`]),
    ...(ignored.length === 0
      ? []
      : ['', '## Read, and answered with a warning', '', '| field | why |', '|---|---|', ...ignored]),
    ...(refused.length === 0
      ? []
      : ['', '## Refused', '', `Acting as if these were not there would be wrong: ${refused.join(', ')}.`]),
    '',
  ].join('\n')
}

function rows(schema: JsonSchema): { acted: string[]; ignored: string[] } {
  const acted: string[] = []
  const ignored: string[] = []
  const walk = (here: JsonSchema, path: string) => {
    for (const [name, field] of Object.entries(here.properties ?? {})) {
      const full = path === '' ? name : `${path}.${name}`
      if (field.description?.startsWith('Another spelling')) continue
      if (field.deprecated === true) {
        ignored.push(`| \`${full}\` | ${cell((field.description ?? '').replace(/^Not acted on: /, ''))} |`)
        continue
      }
      const must = here.required?.includes(name) === true ? ' (required)' : ''
      const fallback = field.default === undefined ? '' : `\`${JSON.stringify(field.default)}\``
      acted.push(
        `| \`${full}\` | ${cell(typeOf(field))}${must} | ${cell(fallback)} | ${cell(field.description ?? field.items?.description ?? '')} |`,
      )
      walk(field, full)
      if (field.items !== undefined) walk(field.items, `${full}[]`)
      if (typeof field.additionalProperties === 'object') walk(field.additionalProperties, `${full}.*`)
    }
  }
  walk(schema, '')
  return { acted, ignored }
}

function typeOf(field: JsonSchema): string {
  if (field.title !== undefined) return field.title
  if (field.enum !== undefined) return field.enum.map((value) => `\`${value}\``).join(', ')
  if (field.const !== undefined) return `\`${JSON.stringify(field.const)}\``
  const some = field.anyOf ?? field.oneOf
  if (some !== undefined) return some.map(typeOf).join(' or ')
  if (field.type === 'array') return `list of ${typeOf(field.items ?? {})}`
  if (typeof field.additionalProperties === 'object') return `mapping to ${typeOf(field.additionalProperties)}`
  return [field.type ?? 'anything'].flat().join(' or ')
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('\n', ' ')
}
