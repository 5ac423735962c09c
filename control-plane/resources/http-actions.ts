import * as z from 'zod'
import { redirectCodes } from '../../src/model/route.ts'
import {
  destinationHost,
  duration,
  headerName,
  namespaceName,
  objectName,
  port,
  stringMatch,
  uint32,
} from './fields.ts'

/** Parts of Istio's HTTPRoute beside match, destinations, timeout and retries. Each parses what is written, no more. */

/** Istio's Percent message: 0.0001 is the finest that Envoy counts. */
export const percentage = z
  .strictObject({
    value: z
      .number()
      .refine((value) => value === 0 || (value >= 0.0001 && value <= 100), 'must be 0, or between 0.0001 and 100')
      .default(0),
  })
  .transform(({ value }) => value)

/** `:authority` stands for the host. */
const editedName = z.union([headerName, z.literal(':authority')], 'is not a header name')
const headerValues = z.record(editedName, z.string())
const headerOperations = z.strictObject({
  set: headerValues.default({}).describe('Replaces the header, or adds it.'),
  add: headerValues.default({}).describe('Adds one more value.'),
  remove: z.array(headerName).default([]).describe('Takes the header out, before the others act.'),
})
export const headers = z.strictObject({
  request: headerOperations.optional(),
  response: headerOperations.optional(),
})

export const destination = z.strictObject({
  host: destinationHost,
  subset: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,63}$/, 'is not a subset name')
    .optional(),
  port: z.strictObject({ number: port }).optional(),
})

const path = z.string().regex(/^[^\s#]*$/, 'is not a path')

export const redirect = z.strictObject({
  uri: path.optional().describe('New path; the query stays unless this has one of its own.'),
  authority: z.string().min(1).optional(),
  port: port.optional(),
  derivePort: z.enum(['FROM_PROTOCOL_DEFAULT', 'FROM_REQUEST_PORT']).optional(),
  scheme: z.enum(['http', 'https'], 'must be http or https').optional(),
  redirectCode: z
    .int()
    .refine((code) => (redirectCodes as readonly number[]).includes(code), `must be one of ${redirectCodes.join(', ')}`)
    .default(301),
})

export const directResponse = z.strictObject({
  status: z.int().min(200).max(599),
  body: z
    .strictObject({ string: z.string().optional(), bytes: z.base64().optional() })
    .refine(({ string, bytes }) => (string === undefined) !== (bytes === undefined), 'needs one of string, bytes')
    .transform(({ string, bytes }) => string ?? Buffer.from(bytes!, 'base64').toString('utf8'))
    .optional(),
})

export const delegate = z.strictObject({
  name: objectName,
  namespace: namespaceName.optional().describe('Default: the namespace of the VirtualService that delegates.'),
})

export const rewrite = z.strictObject({
  uri: path.optional().describe('Replaces the prefix that was matched, or the whole path of an exact or regex match.'),
  authority: z.string().min(1).optional(),
  uriRegexRewrite: z
    .strictObject({
      match: z.string().min(1).describe('RE2.'),
      rewrite: z.string().describe('\\1 is the first group.'),
    })
    .optional(),
})

const oldPercent = z.int().min(0).max(100).optional()
export const fault = z.strictObject({
  delay: z
    .strictObject({
      fixedDelay: duration(1),
      percentage: percentage.optional().describe('Share of the calls. Absent = 0: nothing happens.'),
      percent: oldPercent.describe('Older spelling of percentage.'),
    })
    .optional(),
  abort: z
    .strictObject({
      httpStatus: z.int().min(200).max(599).optional(),
      grpcStatus: z.string().optional().describe('Name of a gRPC code in capitals.'),
      percentage: percentage.optional().describe('Share of the calls. Absent = 0: nothing happens.'),
    })
    .optional(),
})

export const mirrors = z.array(
  z.strictObject({
    destination,
    percentage: percentage.optional().describe('Share of the calls. Absent = 100.'),
  }),
)

export const mirrorPercent = uint32.max(100)

export const corsPolicy = z.strictObject({
  allowOrigins: z.array(stringMatch).default([]),
  /** Older: exact origins. */
  allowOrigin: z.array(z.string()).default([]),
  allowMethods: z.array(z.string().regex(/^[A-Z]+$|^\*$/, 'is not a method')).default([]),
  allowHeaders: z.array(z.union([headerName, z.literal('*')])).default([]),
  exposeHeaders: z.array(z.union([headerName, z.literal('*')])).default([]),
  maxAge: duration(0)
    .refine((ms) => ms % 1000 === 0, 'must be whole seconds')
    .optional(),
  allowCredentials: z.boolean().optional(),
  unmatchedPreflights: z.enum(['UNSPECIFIED', 'FORWARD', 'IGNORE']).default('UNSPECIFIED'),
})
