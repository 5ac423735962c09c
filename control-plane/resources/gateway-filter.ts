import * as z from 'zod'
import { isTransportHeader } from '../../src/match/format.ts'
import { host, port } from './fields.ts'
import { checkBackend, type HeaderModifier, headerModifier, type Path, requestMirror } from './gateway-api.ts'
import type { Report } from './kind.ts'

/** Filters of the Gateway API: what a rule does to a call besides sending it somewhere. */

const pathModifier = z
  .strictObject({
    type: z.enum(['ReplaceFullPath', 'ReplacePrefixMatch']),
    replaceFullPath: z.string().max(1024).optional(),
    replacePrefixMatch: z.string().max(1024).optional(),
  })
  .check(({ value, issues }) => {
    const [own, other] =
      value.type === 'ReplaceFullPath'
        ? (['replaceFullPath', 'replacePrefixMatch'] as const)
        : (['replacePrefixMatch', 'replaceFullPath'] as const)
    if (value[own] === undefined)
      issues.push({ code: 'custom', message: `must be set for ${value.type}`, path: [own], input: value })
    if (value[other] !== undefined)
      issues.push({ code: 'custom', message: `cannot stand beside ${value.type}`, path: [other], input: value })
    for (const field of [own, other])
      if (/[\s#?]/.test(value[field] ?? ''))
        issues.push({ code: 'custom', message: 'is not a path', path: [field], input: value[field] })
  })
export type PathModifier = z.output<typeof pathModifier>

const preciseHost = host.refine((name) => !name.includes('*'), 'cannot have a wildcard')

const requestRedirect = z.strictObject({
  scheme: z.enum(['http', 'https']).optional(),
  hostname: preciseHost.optional(),
  path: pathModifier.optional(),
  port: port.optional().describe("Default: the scheme's own when scheme is set, else the one that was dialled."),
  statusCode: z
    .int()
    .refine((code) => [301, 302, 303, 307, 308].includes(code), 'must be one of 301, 302, 303, 307, 308')
    .default(302),
})
export type RequestRedirect = z.output<typeof requestRedirect>

const urlRewrite = z.strictObject({ hostname: preciseHost.optional(), path: pathModifier.optional() })

const names = (what: RegExp, message: string) => z.array(z.string().regex(what, message)).max(64).default([])
const cors = z.strictObject({
  allowOrigins: names(
    /^\*$|^[A-Za-z][A-Za-z0-9+.-]*:\/\/[^:/?#\s]+(:[0-9]{1,5})?$/,
    'is not an origin (like "https://shop.example", "https://*.example" or "*")',
  ),
  allowCredentials: z.boolean().optional(),
  allowMethods: names(/^[A-Z]+$|^\*$/, 'is not a method'),
  allowHeaders: names(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'is not a header name'),
  exposeHeaders: names(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, 'is not a header name'),
  maxAge: z.int().min(1).default(5).describe('Seconds that a browser may keep the answer to a preflight.'),
})
export type GatewayCors = z.output<typeof cors>

const extension = z.unknown().optional()

export const gatewayFilter = z.strictObject({
  type: z.enum([
    ...(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'RequestRedirect', 'URLRewrite'] as const),
    ...(['CORS', 'ExtensionRef', 'ExternalAuth'] as const),
  ]),
  requestHeaderModifier: headerModifier.optional(),
  responseHeaderModifier: headerModifier.optional(),
  requestMirror: requestMirror.optional(),
  requestRedirect: requestRedirect.optional(),
  urlRewrite: urlRewrite.optional(),
  cors: cors.optional(),
  extensionRef: extension,
  externalAuth: extension,
})
export type GatewayFilter = z.output<typeof gatewayFilter>
export const gatewayFilters = z.array(gatewayFilter).max(16).default([])

/** The field of each type; every other one must be absent. */
const fields = {
  RequestHeaderModifier: 'requestHeaderModifier',
  ResponseHeaderModifier: 'responseHeaderModifier',
  RequestMirror: 'requestMirror',
  RequestRedirect: 'requestRedirect',
  URLRewrite: 'urlRewrite',
  CORS: 'cors',
  ExtensionRef: 'extensionRef',
  ExternalAuth: 'externalAuth',
} as const satisfies Record<string, keyof GatewayFilter>
type FilterType = keyof typeof fields

/** Where filters stand, and what may stand there. */
export const filterPlaces = {
  'rule of an HTTPRoute': new Set<FilterType>([
    ...(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror', 'RequestRedirect'] as const),
    ...(['URLRewrite', 'CORS'] as const),
  ]),
  'rule of a GRPCRoute': new Set<FilterType>(['RequestHeaderModifier', 'ResponseHeaderModifier', 'RequestMirror']),
  'backend of an HTTPRoute': new Set<FilterType>(['RequestHeaderModifier', 'ResponseHeaderModifier', 'URLRewrite']),
  'backend of a GRPCRoute': new Set<FilterType>(['RequestHeaderModifier', 'ResponseHeaderModifier']),
} as const

/** What the Gateway API refuses in a list of filters. A filter that cannot act is an error: it must never be skipped. */
export function checkFilters(
  filters: readonly GatewayFilter[],
  place: keyof typeof filterPlaces,
  path: Path,
  report: Report,
): void {
  filters.forEach((filter, index) => {
    const at = [...path, index]
    const { type } = filter
    if (!filterPlaces[place].has(type)) {
      report('error', [...at, 'type'], `${type} is not supported in a ${place}, and a filter must not be skipped`)
      return
    }
    if (filter[fields[type]] === undefined) report('error', [...at, fields[type]], `must be set for ${type}`)
    for (const field of Object.values(fields))
      if (field !== fields[type] && filter[field] !== undefined)
        report('error', [...at, field], `cannot stand in a filter of type ${type}`)
    if (type !== 'RequestMirror' && filters.findIndex((other) => other.type === type) < index)
      report('error', [...at, 'type'], `there is a ${type} before it: only RequestMirror may be repeated`)
    for (const field of ['requestHeaderModifier', 'responseHeaderModifier'] as const)
      checkModifier(filter[field], [...at, field], report)
    const mirror = filter.requestMirror
    if (mirror !== undefined) {
      checkBackend(mirror.backendRef, [...at, 'requestMirror', 'backendRef'], 'nothing is mirrored', report)
      if (mirror.percent !== undefined && mirror.fraction !== undefined)
        report('error', [...at, 'requestMirror', 'fraction'], 'cannot stand beside percent')
    }
    if (place === 'backend of an HTTPRoute' && filter.urlRewrite?.path !== undefined)
      report('error', [...at, 'urlRewrite', 'path'], 'is only possible in a filter of the rule')
  })
  const redirect = filters.findIndex((filter) => filter.type === 'RequestRedirect')
  if (redirect >= 0 && filters.some((filter) => filter.type === 'URLRewrite'))
    report('error', [...path, redirect, 'type'], 'RequestRedirect cannot stand beside URLRewrite')
}

function checkModifier(modifier: HeaderModifier | undefined, path: Path, report: Report): void {
  if (modifier === undefined) return
  const seen = new Set<string>()
  for (const verb of ['set', 'add', 'remove'] as const)
    modifier[verb].forEach((entry, index) => {
      const name = typeof entry === 'string' ? entry : entry.name
      if (seen.has(name)) report('error', [...path, verb, index], `"${name}" is changed twice in one filter`)
      seen.add(name)
      if (isTransportHeader(name))
        report('error', [...path, verb, index], `${name} cannot be edited: it belongs to the connection`)
    })
}
