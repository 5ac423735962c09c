/**
 * Writes dist/schemas/<Kind>.json and dist/schemas/inmesh.json (any document), for
 * `# yaml-language-server: $schema=...` in editors. Part of the build.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { jsonSchema } from '../control-plane/resources/json-schema.ts'
import { kinds } from '../control-plane/resources/kinds.ts'

const out = join(import.meta.dirname, '../dist/schemas')
rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
const write = (name: string, schema: unknown) =>
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify(schema, null, 2)}\n`)
for (const kind of kinds) write(kind.kind, jsonSchema(kind))
write('inmesh', jsonSchema())
