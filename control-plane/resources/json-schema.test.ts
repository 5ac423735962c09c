import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { parseDocuments } from './document.ts'
import { jsonSchema, specSchema } from './json-schema.ts'
import { findKind, kinds } from './kinds.ts'

/** Validates by zod's own reading of the JSON Schema, which is all that this needs of a validator. */
const accepts = (kind: string, spec: unknown) =>
  z.fromJSONSchema(specSchema(findKind(kind)!) as Parameters<typeof z.fromJSONSchema>[0]).safeParse(spec).success

describe('JSON Schema of the kinds', () => {
  it.each(kinds.map((kind) => [kind.kind, kind] as const))(
    '%s: a document with apiVersion, kind, metadata, spec',
    (_, kind) => {
      const schema = jsonSchema(kind)
      expect(schema.properties).toMatchObject({
        apiVersion: { enum: [...kind.apiVersions] },
        kind: { const: kind.kind },
        spec: { type: 'object', additionalProperties: false },
      })
      expect(JSON.stringify(schema)).not.toContain('"$ref":"#/definitions')
    },
  )

  it('one for all chooses by kind', () => {
    const schema = jsonSchema()
    expect(Object.keys(schema.$defs!)).toEqual(kinds.map((kind) => kind.kind))
    expect(schema.allOf).toHaveLength(kinds.length)
  })

  it('takes what validation takes: the files that the tests apply', () => {
    const folder = join(import.meta.dirname, '../../test/fixtures')
    let checked = 0
    for (const file of readdirSync(folder)) {
      for (const { value } of parseDocuments(readFileSync(join(folder, file), 'utf8')).documents) {
        const { kind, spec } = value as { kind: string; spec: unknown }
        if (findKind(kind) === undefined) continue
        expect(accepts(kind, spec), file).toBe(true)
        checked++
      }
    }
    expect(checked).toBeGreaterThan(4)
  })

  it('refuses unknown fields and wrong values', () => {
    expect(accepts('ServicePolicy', { service: 'a', retryAttempts: 1 })).toBe(true)
    expect(accepts('ServicePolicy', { service: 'a', retryAttempts: -1 })).toBe(false)
    expect(accepts('ServicePolicy', { service: 'a', retries: 1 })).toBe(false)
    expect(accepts('Sidecar', { outboundTrafficPolicy: { mode: 'NONE' } })).toBe(false)
  })

  it('knows other spellings and what only warns', () => {
    expect(accepts('ServicePolicy', { service_name: 'a', retry_attempts: 1 })).toBe(true)
    expect(specSchema(findKind('MeshConfig')!).properties?.accessLogFile).toMatchObject({ deprecated: true })
    expect(specSchema(findKind('Sidecar')!).properties?.egress?.items?.properties?.captureMode).toMatchObject({
      deprecated: true,
    })
  })
})
