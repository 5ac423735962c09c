/**
 * Reading DER (X.690) as far as certificates need it: definite minimal lengths, single-byte tags, every bound checked.
 * What does not fit throws DerError; the exported readers of this folder catch it and return a failure.
 */
export class DerError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DerError'
  }
}

export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const

/** One element; `start` and `end` bound its content, `from` is where its tag stands. */
export interface DerElement {
  readonly tag: number
  readonly from: number
  readonly start: number
  readonly end: number
}

/** Walks the elements of one constructed value, front to back. */
export class DerReader {
  readonly bytes: Uint8Array
  private offset: number
  private readonly end: number

  constructor(bytes: Uint8Array, start = 0, end: number = bytes.length) {
    this.bytes = bytes
    this.offset = start
    this.end = end
  }

  get done(): boolean {
    return this.offset >= this.end
  }

  /** Tag of the next element, or -1 at the end. */
  peek(): number {
    return this.done ? -1 : this.bytes[this.offset]!
  }

  next(): DerElement {
    const from = this.offset
    const tag = this.byte()
    if ((tag & 0x1f) === 0x1f) throw new DerError(`multi-byte tag at ${from}`)
    let length = this.byte()
    if (length >= 0x80) {
      const count = length & 0x7f
      if (count === 0 || count > 3) throw new DerError(`length of ${count} bytes at ${from}`)
      length = 0
      for (let i = 0; i < count; i++) length = length * 256 + this.byte()
      if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw new DerError(`length not minimal at ${from}`)
    }
    const start = this.offset
    if (length > this.end - start) throw new DerError(`element at ${from} runs over its parent`)
    this.offset = start + length
    return { tag, from, start, end: this.offset }
  }

  /** The next element, which must have this tag. */
  expect(tag: number): DerElement {
    const element = this.next()
    if (element.tag !== tag) {
      throw new DerError(`tag 0x${element.tag.toString(16)} instead of 0x${tag.toString(16)} at ${element.from}`)
    }
    return element
  }

  /** A reader for the content of the next element, which must have this tag. */
  enter(tag: number): DerReader {
    return this.within(this.expect(tag))
  }

  /** A reader for the content of an element of this reader. */
  within(element: DerElement): DerReader {
    return new DerReader(this.bytes, element.start, element.end)
  }

  content(element: DerElement): Uint8Array {
    return this.bytes.subarray(element.start, element.end)
  }

  boolean(): boolean {
    const value = this.content(this.expect(Tag.boolean))
    if (value.length !== 1 || (value[0] !== 0 && value[0] !== 0xff)) throw new DerError('boolean is neither 00 nor FF')
    return value[0] === 0xff
  }

  /** Object identifier in dotted form. */
  oid(): string {
    const value = this.content(this.expect(Tag.oid))
    if (value.length === 0 || value.length > 64 || value[value.length - 1]! >= 0x80) throw new DerError('broken OID')
    const arcs: number[] = []
    let arc = 0
    for (const byte of value) {
      if (arc === 0 && byte === 0x80) throw new DerError('broken OID')
      arc = arc * 128 + (byte & 0x7f)
      if (arc > Number.MAX_SAFE_INTEGER) throw new DerError('OID arc too large')
      if (byte < 0x80) {
        arcs.push(arc)
        arc = 0
      }
    }
    const first = arcs[0]!
    const top = first < 80 ? Math.floor(first / 40) : 2
    return [top, first - top * 40, ...arcs.slice(1)].join('.')
  }

  /** Throws when bytes are left over. */
  finish(): void {
    if (!this.done) throw new DerError(`bytes left over at ${this.offset}`)
  }

  private byte(): number {
    if (this.offset >= this.end) throw new DerError(`cut off at ${this.offset}`)
    return this.bytes[this.offset++]!
  }
}

/** A UTCTime or GeneralizedTime of RFC 5280 4.1.2.5 (seconds, "Z") in wall clock ms. */
export function readTime(reader: DerReader): number {
  const element = reader.next()
  const text = Buffer.from(reader.content(element)).toString('latin1')
  const parts =
    element.tag === Tag.utcTime
      ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
      : element.tag === Tag.generalizedTime
        ? /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(text)
        : null
  if (parts === null) throw new DerError('time is not in the form of RFC 5280')
  const [year, month, day, hour, minute, second] = parts.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const fullYear = element.tag === Tag.utcTime ? (year < 50 ? 2000 + year : 1900 + year) : year
  const time = new Date(0)
  time.setUTCFullYear(fullYear, month - 1, day)
  time.setUTCHours(hour, minute, second)
  if (time.getUTCMonth() !== month - 1 || time.getUTCDate() !== day || time.getUTCHours() !== hour) {
    throw new DerError(`${text} is not a date`)
  }
  return time.getTime()
}
