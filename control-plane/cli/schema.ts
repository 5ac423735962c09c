import { Command } from 'commander'
import { jsonSchema } from '../resources/json-schema.ts'
import { findKind, kinds } from '../resources/kinds.ts'
import { suggest } from '../resources/suggest.ts'
import { Failure } from './failure.ts'

/** `inmesh schema [KIND]`: JSON Schema, for completion and checks in editors. */
export function schemaCommand(): Command {
  return new Command('schema')
    .description('print the JSON Schema of a kind, or of every document that apply takes')
    .argument('[kind]', 'such as VirtualService, virtualservices or vs')
    .action((name: string | undefined) => {
      const kind = name === undefined ? undefined : findKind(name)
      if (name !== undefined && kind === undefined) {
        const known = kinds.map((each) => each.kind)
        const hint = suggest(name, known)
        throw new Failure(
          `unknown kind "${name}"${hint === undefined ? '' : ` (did you mean "${hint}"?)`}; known are ${known.join(', ')}`,
          2,
        )
      }
      process.stdout.write(`${JSON.stringify(jsonSchema(kind), null, 2)}\n`)
    })
}
