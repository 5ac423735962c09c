/** Every error that inmesh throws, by code. The message is for the reader: what is wrong, where, what was expected. */
export const ErrorCodes = {
  /** A field, variable or flag is missing or has a value that cannot be used. */
  ERR_INMESH_INVALID_OPTION: 'ERR_INMESH_INVALID_OPTION',
  /** A document of configuration was refused; see `ConfigError.problems`. */
  ERR_INMESH_INVALID_CONFIG: 'ERR_INMESH_INVALID_CONFIG',
  /** ready() gave up: no snapshot, identity or registration within its time. */
  ERR_INMESH_NOT_READY: 'ERR_INMESH_NOT_READY',
  /** The mesh was closed before or while the call was made. */
  ERR_INMESH_CLOSED: 'ERR_INMESH_CLOSED',
  /** A certificate, key, token or trust bundle cannot be used, or a peer is not who it should be. */
  ERR_INMESH_IDENTITY: 'ERR_INMESH_IDENTITY',
  /** A resource that came over xDS cannot be used. */
  ERR_INMESH_XDS_RESOURCE: 'ERR_INMESH_XDS_RESOURCE',
  /** The control plane refused or could not be reached. */
  ERR_INMESH_CONTROL_PLANE: 'ERR_INMESH_CONTROL_PLANE',
  /** The store refused a write or is of another version. */
  ERR_INMESH_STORE: 'ERR_INMESH_STORE',
  /** Targets like mesh:///payments cannot be had: the version of grpc-js does not allow it, or another mesh has them. */
  ERR_INMESH_GRPC_TARGETS: 'ERR_INMESH_GRPC_TARGETS',
} as const

export type ErrorCode = keyof typeof ErrorCodes

/** Base of all errors of inmesh; `code` says which, `cause` keeps what lies below. */
export class InmeshError extends Error {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'InmeshError'
    this.code = code
  }
}

/** One finding about a configuration document. */
export interface Problem {
  severity: 'error' | 'warning'
  message: string
  /** What it is about, like "VirtualService/default/payments". */
  subject?: string
  /** Path of the field, like "spec.http[0].route[1].weight". */
  field?: string
  file?: string
  /** 1-based. */
  line?: number
  /** 1-based. */
  column?: number
  suggestion?: string
  /** Of `inmesh analyze`, like "IST0101"; see docs/analyze.md. */
  code?: string
}

/** `file:line:column: subject field: message`, leaving out what is not known. */
export function formatProblem(p: Problem): string {
  let place = p.file ?? ''
  if (p.line !== undefined)
    place += `${place === '' ? 'line ' : ':'}${p.line}${p.column === undefined ? '' : `:${p.column}`}`
  const what = [p.subject, p.field].filter((s) => s !== undefined && s !== '').join(' ')
  const hint = p.suggestion === undefined ? '' : ` (did you mean "${p.suggestion}"?)`
  return [place, what, `${p.message}${hint}`].filter((s) => s !== '').join(': ')
}

/** Configuration that was refused, with every problem found. */
export class ConfigError extends InmeshError {
  readonly problems: readonly Problem[]
  constructor(problems: readonly Problem[]) {
    super('ERR_INMESH_INVALID_CONFIG', problems.map(formatProblem).join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}
