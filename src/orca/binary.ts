import type { LoadReport } from '../model/load-report.ts'
import { ReportDraft, scalars, tables } from './fields.ts'

/**
 * Reads an encoded OrcaLoadReport. By hand, because it comes with every answer and a general decoder costs several times as
 * much.
 * @returns null = it is none
 */
export function decodeReport(bytes: Uint8Array): LoadReport | null {
  const draft = new ReportDraft()
  try {
    const reader = new Reader(bytes)
    while (!reader.atEnd) {
      const tag = reader.varint()
      const field = Math.floor(tag / 8)
      const scalar = scalars.find((row) => row.field === field)
      const table = tables.find((row) => row.field === field)
      if (scalar !== undefined && tag % 8 === DOUBLE) draft.scalar(scalar.key, reader.double())
      else if (table !== undefined && tag % 8 === BYTES) {
        const [name, value] = entryOf(reader.bytes())
        draft.entry(table.key, name, value)
      } else reader.skip(tag % 8)
    }
  } catch (error) {
    if (error instanceof RangeError) return null
    throw error
  }
  return draft.done()
}

/** What `decodeReport` reads. */
export function encodeReport(report: LoadReport): Buffer {
  const parts: Uint8Array[] = []
  for (const { field, key } of scalars) if (report[key] !== 0) parts.push(doubleField(field, report[key]))
  for (const { field, key } of tables) {
    for (const [name, value] of report[key]) {
      const text = Buffer.from(name)
      const entry = Buffer.concat([head(1, BYTES), varint(text.length), text, doubleField(2, value)])
      parts.push(head(field, BYTES), varint(entry.length), entry)
    }
  }
  return Buffer.concat(parts)
}

/** Wire types of protobuf. */
const VARINT = 0
const DOUBLE = 1
const BYTES = 2
const FLOAT = 5

class Reader {
  private readonly view: DataView
  private readonly source: Uint8Array
  private at = 0

  constructor(bytes: Uint8Array) {
    this.source = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get atEnd(): boolean {
    return this.at >= this.source.length
  }

  /** Past 2^53 it is inexact, which nothing here needs to be. */
  varint(): number {
    let value = 0
    for (let scale = 1, i = 0; i < 10; i++, scale *= 128) {
      const byte = this.view.getUint8(this.at++)
      value += (byte & 127) * scale
      if (byte < 128) return value
    }
    throw new RangeError('a number is longer than 10 bytes')
  }

  double(): number {
    this.at += 8
    return this.view.getFloat64(this.at - 8, true)
  }

  bytes(): Uint8Array {
    const length = this.varint()
    this.move(length)
    return this.source.subarray(this.at - length, this.at)
  }

  skip(type: number): void {
    if (type === VARINT) this.varint()
    else if (type === DOUBLE) this.move(8)
    else if (type === BYTES) this.move(this.varint())
    else if (type === FLOAT) this.move(4)
    else throw new RangeError(`wire type ${type}`)
  }

  private move(by: number): void {
    this.at += by
    if (this.at > this.source.length) throw new RangeError('cut off')
  }
}

/** An entry of a map field is a message of key and value, either of which may be absent. */
function entryOf(bytes: Uint8Array): [name: string, value: number] {
  const reader = new Reader(bytes)
  let name = ''
  let value = 0
  while (!reader.atEnd) {
    const tag = reader.varint()
    if (tag === 8 + BYTES) name = Buffer.from(reader.bytes()).toString()
    else if (tag === 16 + DOUBLE) value = reader.double()
    else reader.skip(tag % 8)
  }
  return [name, value]
}

function head(field: number, type: number): Uint8Array {
  return Uint8Array.of(field * 8 + type)
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let left = value
  for (; left > 127; left >>>= 7) bytes.push((left & 127) | 128)
  bytes.push(left)
  return Uint8Array.from(bytes)
}

function doubleField(field: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(9)
  bytes[0] = field * 8 + DOUBLE
  bytes.writeDoubleLE(value, 1)
  return bytes
}
