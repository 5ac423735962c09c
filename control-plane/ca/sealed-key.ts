import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'
import { InmeshError } from '../../src/errors.ts'

/** The row that a sealed key belongs to; sealed under another row it does not open. */
export interface SealedRow {
  readonly service: string
  readonly namespace: string
  readonly serviceAccount: string
  readonly serial: string
}

/** A key-encryption key, 256 bits. */
export class KeyEncryptionKey {
  readonly #key: Buffer
  /** First 8 bytes of its SHA-256: says which key a row needs, and nothing about the key. */
  readonly id: Buffer

  constructor(key: Uint8Array) {
    if (key.length !== 32) throw new InmeshError('ERR_INMESH_IDENTITY', 'key-encryption key is not 32 bytes long')
    this.#key = Buffer.from(key)
    this.id = createHash('sha256').update('inmesh kek id').update(key).digest().subarray(0, ID)
  }

  wrap(dek: Buffer, row: SealedRow): Buffer {
    return encrypt(this.#key, dek, aad(row, this.id))
  }

  unwrap(wrapped: Buffer, row: SealedRow): Buffer {
    return decrypt(this.#key, wrapped, aad(row, this.id))
  }
}

/*
 * version 1 | id of the KEK, 8 | DEK wrapped by the KEK: nonce 12, text 32, tag 16 | key sealed by the DEK: nonce 12, text, tag 16
 */
const VERSION = 1
const ID = 8
const NONCE = 12
const TAG = 16
const WRAPPED = NONCE + 32 + TAG

/** Seals a private key (PKCS#8, DER or PEM) for one row: AES-256-GCM with a key of its own, wrapped by the KEK; base64. */
export function sealKey(privateKey: Uint8Array, row: SealedRow, kek: KeyEncryptionKey): string {
  const dek = randomBytes(32)
  const sealed = encrypt(dek, privateKey, aad(row))
  const text = Buffer.concat([Buffer.from([VERSION]), kek.id, kek.wrap(dek, row), sealed]).toString('base64')
  dek.fill(0)
  return text
}

/** @throws InmeshError ERR_INMESH_IDENTITY when it was sealed for another row or by another KEK, or was changed */
export function openKey(sealed: string, row: SealedRow, kek: KeyEncryptionKey): Buffer {
  const { wrapped, text } = split(sealed, kek)
  try {
    return decrypt(kek.unwrap(wrapped, row), text, aad(row))
  } catch (cause) {
    throw new InmeshError(
      'ERR_INMESH_IDENTITY',
      `sealed key of serial ${row.serial} does not open: changed, or of another row`,
      {
        cause,
      },
    )
  }
}

/** Puts a sealed key under a new KEK; the key itself is not touched. */
export function rewrapKey(sealed: string, row: SealedRow, from: KeyEncryptionKey, to: KeyEncryptionKey): string {
  const { wrapped, text } = split(sealed, from)
  const dek = from.unwrap(wrapped, row)
  return Buffer.concat([Buffer.from([VERSION]), to.id, to.wrap(dek, row), text]).toString('base64')
}

function split(sealed: string, kek: KeyEncryptionKey): { wrapped: Buffer; text: Buffer } {
  const bytes = Buffer.from(sealed, 'base64')
  if (bytes.length < 1 + ID + WRAPPED + NONCE + TAG || bytes[0] !== VERSION) {
    throw new InmeshError('ERR_INMESH_IDENTITY', 'sealed key is cut off or of an unknown version')
  }
  if (!bytes.subarray(1, 1 + ID).equals(kek.id)) {
    throw new InmeshError('ERR_INMESH_IDENTITY', 'sealed key is under another key-encryption key')
  }
  return { wrapped: bytes.subarray(1 + ID, 1 + ID + WRAPPED), text: bytes.subarray(1 + ID + WRAPPED) }
}

/** JSON, because a separator could stand inside a name. */
function aad(row: SealedRow, kekId?: Buffer): Buffer {
  const { service, namespace, serviceAccount, serial } = row
  return Buffer.from(JSON.stringify([service, namespace, serviceAccount, serial, kekId?.toString('hex') ?? 'key']))
}

function encrypt(key: Buffer, text: Uint8Array, data: Buffer): Buffer {
  const nonce = randomBytes(NONCE)
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG }).setAAD(data)
  return Buffer.concat([nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()])
}

function decrypt(key: Buffer, sealed: Buffer, data: Buffer): Buffer {
  const nonce = sealed.subarray(0, NONCE)
  const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG }).setAAD(data)
  cipher.setAuthTag(sealed.subarray(sealed.length - TAG))
  return Buffer.concat([cipher.update(sealed.subarray(NONCE, sealed.length - TAG)), cipher.final()])
}
