import { InmeshError } from '../../errors.ts'

/** A value of a JSON document together with its place in it, so that every complaint names the field. */
export class JsonPlace {
  readonly value: unknown
  readonly path: string
  readonly warnings: string[]

  /** @param path of the document itself: what it is and where it is from */
  constructor(value: unknown, path: string, warnings: string[] = []) {
    this.value = value
    this.path = path
    this.warnings = warnings
  }

  fail(reason: string): never {
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${this.path}: ${reason}`)
  }

  warn(reason: string): void {
    this.warnings.push(`${this.path}: ${reason}`)
  }

  /** undefined: not there, or null. */
  at(name: string): JsonPlace | undefined {
    const value = this.object()[name]
    return value === undefined || value === null ? undefined : this.child(`.${name}`, value)
  }

  need(name: string): JsonPlace {
    return this.at(name) ?? this.child(`.${name}`, undefined).fail('is missing')
  }

  object(): Readonly<Record<string, unknown>> {
    const { value } = this
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return this.wrong('an object')
    return value as Record<string, unknown>
  }

  entries(): [name: string, place: JsonPlace][] {
    return Object.entries(this.object()).map(([name, value]) => [name, this.child(`["${name}"]`, value)])
  }

  list(): JsonPlace[] {
    if (!Array.isArray(this.value)) return this.wrong('a list')
    return this.value.map((value, i) => this.child(`[${i}]`, value))
  }

  text(): string {
    return typeof this.value === 'string' ? this.value : this.wrong('a string')
  }

  nonEmpty(): string {
    return this.text() === '' ? this.fail('must not be empty') : this.text()
  }

  /** A duration in protobuf's JSON, "600s" or "1.5s", in ms; it must be more than 0. */
  durationMs(): number {
    const seconds = /^([0-9]+(?:\.[0-9]{1,9})?)s$/.exec(this.text())?.[1]
    if (seconds === undefined || !(Number(seconds) > 0)) return this.wrong('a duration like "600s", more than 0')
    return Number(seconds) * 1_000
  }

  private child(step: string, value: unknown): JsonPlace {
    return new JsonPlace(value, this.path + step, this.warnings)
  }

  private wrong(expected: string): never {
    return this.fail(`is ${JSON.stringify(this.value) ?? 'missing'}, expected ${expected}`)
  }
}
