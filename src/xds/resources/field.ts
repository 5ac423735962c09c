import { type DescMessage, isFieldSet, type MessageShape } from '@bufbuild/protobuf'
import { type Dialect, ownDialect } from './dialect.ts'

/** Why a resource cannot be used; the message starts with the path of the field. */
export class FieldError extends Error {
  readonly field: string
  constructor(field: string, reason: string) {
    super(field === '' ? reason : `${field}: ${reason}`)
    this.name = 'FieldError'
    this.field = field
  }
}

/**
 * A place inside a resource that is being decoded: knows its path in proto names ("virtual_hosts[0].routes[2].match")
 * and collects what will have no effect.
 */
export class Field {
  readonly path: string
  readonly warnings: string[]
  /** Whose resource it is. */
  readonly dialect: Dialect

  constructor(path = '', warnings: string[] = [], dialect: Dialect = ownDialect) {
    this.path = path
    this.warnings = warnings
    this.dialect = dialect
  }

  at(name: string): Field {
    return new Field(this.path === '' ? name : `${this.path}.${name}`, this.warnings, this.dialect)
  }

  index(i: number | string): Field {
    return new Field(`${this.path}[${i}]`, this.warnings, this.dialect)
  }

  /** The resource is refused. */
  fail(reason: string): never {
    throw new FieldError(this.path, reason)
  }

  /** The resource is used, but this has no effect. */
  warn(reason: string): void {
    this.warnings.push(this.path === '' ? reason : `${this.path}: ${reason}`)
  }

  /** Each with its place. */
  map<T, R>(items: readonly T[], each: (item: T, field: Field) => R): R[] {
    return items.map((item, i) => each(item, this.index(i)))
  }

  /**
   * Warns about every field that is set and that the decoder does not act on.
   * @param known proto names of those it reads, or that change nothing for this data plane
   */
  onlyReads<D extends DescMessage>(schema: D, message: MessageShape<D>, known: ReadonlySet<string>): void {
    for (const field of schema.fields) {
      if (!known.has(field.name) && isFieldSet(message, field)) this.at(field.name).warn('not supported, has no effect')
    }
  }
}

/** Names split at white space: sets of field names stay readable. */
export function names(text: string): ReadonlySet<string> {
  return new Set(text.trim().split(/\s+/))
}
