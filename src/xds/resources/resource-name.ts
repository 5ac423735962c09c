import { BinaryReader, WireType } from '@bufbuild/protobuf/wire'

/**
 * The name of a resource that could not be decoded, read from its first bytes: in all of LDS, RDS, CDS, EDS and SDS it
 * is field 1. undefined when there is none to be read.
 */
export function peekName(value: Uint8Array): string | undefined {
  try {
    const reader = new BinaryReader(value)
    while (reader.pos < reader.len) {
      const [number, wireType] = reader.tag()
      if (number === 1 && wireType === WireType.LengthDelimited) return reader.string() || undefined
      reader.skip(wireType, number)
    }
  } catch {
    // Corrupt before the name: there is no name.
  }
  return undefined
}
