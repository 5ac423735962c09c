import * as z from 'zod'
import type { Kind, UnsupportedField } from './kind.ts'
import { kinds } from './kinds.ts'
import { metadataSchema } from './metadata.ts'

/** As much of JSON Schema 2020-12 as the kinds need. */
export interface JsonSchema {
  $schema?: string
  $ref?: string
  $defs?: Record<string, JsonSchema>
  title?: string
  description?: string
  deprecated?: boolean
  default?: unknown
  type?: string | string[]
  const?: unknown
  enum?: unknown[]
  anyOf?: JsonSchema[]
  oneOf?: JsonSchema[]
  allOf?: JsonSchema[]
  if?: JsonSchema
  then?: JsonSchema
  properties?: Record<string, JsonSchema>
  required?: string[]
  additionalProperties?: boolean | JsonSchema
  propertyNames?: JsonSchema
  items?: JsonSchema
  minimum?: number
  maximum?: number
  [keyword: string]: unknown
}

const dialect = 'https://json-schema.org/draft/2020-12/schema'

/** Of one kind, or of any document that `inmesh apply` takes; from the schemas that validate. */
export function jsonSchema(kind?: Kind): JsonSchema {
  if (kind !== undefined) return { $schema: dialect, ...documentSchema(kind) }
  return {
    $schema: dialect,
    title: 'A document for inmesh apply',
    type: 'object',
    properties: { kind: { enum: kinds.map((each) => each.kind) } },
    required: ['apiVersion', 'kind'],
    // Editors complete and complain about the branch that the kind chooses, instead of about all of them.
    allOf: kinds.map((each) => ({
      if: { properties: { kind: { const: each.kind } } },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: { $ref: `#/$defs/${each.kind}` },
    })),
    $defs: Object.fromEntries(kinds.map((each) => [each.kind, documentSchema(each)])),
  }
}

/** The `spec` of a kind as it is written: with defaults left out, other spellings, and fields that only warn. */
export function specSchema(kind: Kind): JsonSchema {
  const schema = inputSchema(kind.schema)
  for (const field of kind.unsupported) addUnsupported(schema, field.path.split('.'), field)
  for (const [spelling, name] of Object.entries(kind.aliases ?? {})) {
    const meant = schema.properties?.[name]
    if (meant === undefined) continue
    schema.properties![spelling] = { ...meant, description: `Another spelling of ${name}.`, deprecated: true }
    // Either spelling fulfils a requirement, which only validation can tell.
    schema.required = schema.required?.filter((required) => required !== name)
  }
  return schema
}

function documentSchema(kind: Kind): JsonSchema {
  return {
    title: kind.kind,
    description: kind.docs,
    type: 'object',
    properties: {
      apiVersion: { enum: [...kind.apiVersions] },
      kind: { const: kind.kind },
      metadata: inputSchema(metadataSchema),
      spec: specSchema(kind),
      status: {},
    },
    required: ['apiVersion', 'kind'],
    additionalProperties: false,
  }
}

function inputSchema(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' })
  return rest as JsonSchema
}

function addUnsupported(schema: JsonSchema, [step = '', ...rest]: string[], field: UnsupportedField): void {
  const name = step.replace('[]', '')
  if (rest.length > 0) {
    const child = schema.properties?.[name]
    const inner = step.endsWith('[]') ? child?.items : child
    if (inner !== undefined) addUnsupported(inner, rest, field)
    return
  }
  // What is refused stays unknown to editors; what has no effect is struck through.
  if (field.severity === 'error' || schema.properties === undefined) return
  schema.properties[name] ??= { description: `Not acted on: ${field.why ?? 'not supported yet'}.`, deprecated: true }
}
