import type { MessageInitShape } from '@bufbuild/protobuf'
import {
  HeaderValueOption_HeaderAppendAction as Append,
  type HeaderValueOptionSchema,
} from '../../src/gen/envoy/config/core/v3/base_pb.js'
import {
  RouteAction_ClusterNotFoundResponseCode as ClusterNotFound,
  RedirectAction_RedirectResponseCode as RedirectCode,
  type RouteActionSchema,
  type RouteSchema,
} from '../../src/gen/envoy/config/route/v3/route_components_pb.js'
import { CorsPolicySchema } from '../../src/gen/envoy/extensions/filters/http/cors/v3/cors_pb.js'
import { HTTPFaultSchema } from '../../src/gen/envoy/extensions/filters/http/fault/v3/fault_pb.js'
import { FractionalPercent_DenominatorType as Denominator } from '../../src/gen/envoy/type/v3/percent_pb.js'
import type {
  CorsSpec,
  FaultSpec,
  HashSpec,
  HeaderEdit,
  HeaderEdits,
  PathRewrite,
  RedirectSpec,
} from '../../src/model/route.ts'
import { duration, type Fields, pack } from './encode.ts'
import { stringMatcher } from './matchers.ts'
import type { Answer, PlannedActions } from './route-plan.ts'

export type RouteInit = Fields<typeof RouteSchema>
type ActionInit = Fields<typeof RouteActionSchema>

/** Names of the filters whose rules stand on routes. */
export const FAULT_FILTER = 'envoy.filters.http.fault'
export const CORS_FILTER = 'envoy.filters.http.cors'

const share = (perMillion: number) => ({ numerator: perMillion, denominator: Denominator.MILLION })

/** Header edits of one level, in Envoy's four lists; their order within a kind stays. */
export function editLists(edits: HeaderEdits | null | undefined) {
  const removed = (list: readonly HeaderEdit[]) => list.flatMap((edit) => (edit.kind === 'remove' ? [edit.name] : []))
  const added = (list: readonly HeaderEdit[]) => list.flatMap((edit) => (edit.kind === 'remove' ? [] : [option(edit)]))
  if (edits === null || edits === undefined) return {}
  return {
    requestHeadersToRemove: removed(edits.request),
    requestHeadersToAdd: added(edits.request),
    responseHeadersToRemove: removed(edits.response),
    responseHeadersToAdd: added(edits.response),
  }
}

const appendActions = {
  set: Append.OVERWRITE_IF_EXISTS_OR_ADD,
  append: Append.APPEND_IF_EXISTS_OR_ADD,
  'add-if-absent': Append.ADD_IF_ABSENT,
  'overwrite-if-exists': Append.OVERWRITE_IF_EXISTS,
} as const

function option(edit: Exclude<HeaderEdit, { kind: 'remove' }>): MessageInitShape<typeof HeaderValueOptionSchema> {
  return {
    header: { key: edit.name, value: edit.value },
    appendAction: appendActions[edit.kind],
    keepEmptyValue: edit.keepEmpty,
  }
}

/** What of the actions stands in RouteAction. */
export function actionFields(actions: PlannedActions): ActionInit {
  const { rewrite, mirrors, hash, clusterNotFoundStatus } = actions
  return {
    ...(rewrite?.path == null ? {} : pathRewrite(rewrite.path)),
    ...(rewrite?.authority == null
      ? {}
      : { hostRewriteSpecifier: { case: 'hostRewriteLiteral' as const, value: rewrite.authority } }),
    requestMirrorPolicies: mirrors.map(({ cluster, perMillion }) => ({
      cluster,
      runtimeFraction: { defaultValue: share(perMillion) },
    })),
    hashPolicy: hash.map(hashPolicy),
    ...(clusterNotFoundStatus === 500 ? { clusterNotFoundResponseCode: ClusterNotFound.INTERNAL_SERVER_ERROR } : {}),
  }
}

/** A whole path is a regex that matches all of it: Envoy's prefix_rewrite replaces only what was matched. */
function pathRewrite(path: PathRewrite): Partial<ActionInit> {
  if (path.kind === 'prefix') return { prefixRewrite: path.value }
  const regex = path.kind === 'full' ? '^.*$' : path.pattern
  const substitution = path.kind === 'full' ? path.value.replaceAll('\\', '\\\\') : path.substitution
  return { regexRewrite: { pattern: { regex }, substitution } }
}

function hashPolicy(hash: HashSpec): NonNullable<ActionInit['hashPolicy']>[number] {
  const { terminal } = hash
  switch (hash.kind) {
    case 'header':
      return { policySpecifier: { case: 'header', value: { headerName: hash.name } }, terminal }
    case 'cookie': {
      const { name, path, ttlMs } = hash
      const ttl = ttlMs === null ? {} : { ttl: duration(ttlMs) }
      return { policySpecifier: { case: 'cookie', value: { name, path, ...ttl } }, terminal }
    }
    case 'process':
      return { policySpecifier: { case: 'filterState', value: { key: 'io.grpc.channel_id' } }, terminal }
    case 'source-ip':
      return { policySpecifier: { case: 'connectionProperties', value: { sourceIp: true } }, terminal }
    case 'query':
      return { policySpecifier: { case: 'queryParameter', value: { name: hash.name } }, terminal }
  }
}

/** typed_per_filter_config of a route. */
export function filterConfigs({
  fault,
  cors,
}: Pick<PlannedActions, 'fault' | 'cors'>): RouteInit['typedPerFilterConfig'] {
  return {
    ...(cors === null ? {} : { [CORS_FILTER]: pack(CorsPolicySchema, corsPolicy(cors)) }),
    ...(fault === null ? {} : { [FAULT_FILTER]: pack(HTTPFaultSchema, httpFault(fault)) }),
  }
}

function httpFault({ delay, abort }: FaultSpec): MessageInitShape<typeof HTTPFaultSchema> {
  return {
    ...(delay === null
      ? {}
      : {
          delay: {
            faultDelaySecifier:
              delay.ms === null
                ? { case: 'headerDelay' as const, value: {} }
                : { case: 'fixedDelay' as const, value: duration(delay.ms) },
            percentage: share(delay.perMillion),
          },
        }),
    ...(abort === null ? {} : { abort: { errorType: errorType(abort.how), percentage: share(abort.perMillion) } }),
  }
}

function errorType(how: NonNullable<FaultSpec['abort']>['how']) {
  switch (how.kind) {
    case 'http':
      return { case: 'httpStatus' as const, value: how.status }
    case 'grpc':
      return { case: 'grpcStatus' as const, value: how.code }
    case 'header':
      return { case: 'headerAbort' as const, value: {} }
  }
}

function corsPolicy(cors: CorsSpec): MessageInitShape<typeof CorsPolicySchema> {
  return {
    allowOriginStringMatch: cors.allowOrigins.map(stringMatcher),
    allowMethods: cors.allowMethods,
    allowHeaders: cors.allowHeaders,
    exposeHeaders: cors.exposeHeaders,
    maxAge: cors.maxAge,
    allowCredentials: cors.allowCredentials,
    forwardNotMatchingPreflights: cors.forwardUnmatchedPreflights,
  }
}

const redirectCodes = {
  301: RedirectCode.MOVED_PERMANENTLY,
  302: RedirectCode.FOUND,
  303: RedirectCode.SEE_OTHER,
  307: RedirectCode.TEMPORARY_REDIRECT,
  308: RedirectCode.PERMANENT_REDIRECT,
} as const

export function answer(planned: Answer): NonNullable<RouteInit['action']> {
  if (planned.kind === 'redirect') return { case: 'redirect', value: redirectAction(planned.redirect) }
  const { status, body } = planned
  const text = body === '' ? {} : { body: { specifier: { case: 'inlineString' as const, value: body } } }
  return { case: 'directResponse', value: { status, ...text } }
}

function redirectAction(redirect: RedirectSpec) {
  return {
    responseCode: redirectCodes[redirect.status],
    hostRedirect: redirect.host ?? '',
    portRedirect: redirect.port ?? 0,
    stripQuery: redirect.stripQuery,
    ...(redirect.scheme === null
      ? {}
      : redirect.scheme === 'https'
        ? { schemeRewriteSpecifier: { case: 'httpsRedirect' as const, value: true } }
        : { schemeRewriteSpecifier: { case: 'schemeRedirect' as const, value: redirect.scheme } }),
    ...(redirect.path === null ? {} : { pathRewriteSpecifier: redirectPath(redirect.path) }),
  }
}

function redirectPath(path: PathRewrite) {
  switch (path.kind) {
    case 'full':
      return { case: 'pathRedirect' as const, value: path.value }
    case 'prefix':
      return { case: 'prefixRewrite' as const, value: path.value }
    case 'regex': {
      const { pattern, substitution } = path
      return { case: 'regexRewrite' as const, value: { pattern: { regex: pattern }, substitution } }
    }
  }
}
