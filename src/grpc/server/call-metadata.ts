import type { Metadata } from '@grpc/grpc-js'
import { isMeshHeader, toldToApps } from '../../transport/hop-headers.ts'

const noValues: readonly string[] = []

/**
 * Headers of which Node keeps the first line only; lines of all others it joins by ", ", and nothing tells them from one line
 * in which that stands.
 */
const singleValued: ReadonlySet<string> = new Set([
  'authorization',
  'content-type',
  'date',
  'from',
  'host',
  'location',
  'proxy-authorization',
  'referer',
  'user-agent',
])

/** A header as policies of HTTP see it: lines joined by ",", `-bin` in base64; what grpc-js keeps for itself as it must have been. */
export function headerOf(metadata: Metadata, name: string): string | undefined {
  const values = metadata.get(name)
  if (values.length === 0) return impliedOf(name)
  return values.length === 1 ? textOf(values[0]!) : values.map(textOf).join(',')
}

/**
 * Each line of a header by itself. Where lines may have been joined, the whole and each part of it: so a rule that denies
 * one of them finds it, and one that allows wants all of them.
 */
export function valuesOf(metadata: Metadata, name: string): readonly string[] {
  const values = metadata.get(name)
  if (values.length === 0) {
    const implied = impliedOf(name)
    return implied === undefined ? noValues : [implied]
  }
  const texts = values.map(textOf)
  if (singleValued.has(name) || !texts.some((text) => text.includes(','))) return texts
  return texts.flatMap((text) => (text.includes(',') ? [text, ...text.split(/, ?/)] : [text]))
}

function impliedOf(name: string): string | undefined {
  if (name === 'content-type') return 'application/grpc'
  return name === 'te' ? 'trailers' : undefined
}

function textOf(value: string | Buffer): string {
  return typeof value === 'string' ? value : value.toString('base64')
}

/**
 * Takes out the headers by which mesh proxies talk to each other; what is told to the app stays when a verified peer said it.
 * What they are worth reading for is to be read before.
 */
export function withoutMeshHeaders(metadata: Metadata, verified: boolean): void {
  const all = metadata.getMap()
  for (const name in all) if (isMeshHeader(name) && !(verified && toldToApps.has(name))) metadata.remove(name)
}

/** Names that HTTP/2 does not have or gRPC fills in itself. */
const reserved =
  /^(?:grpc-.*|:.*|connection|keep-alive|proxy-connection|transfer-encoding|upgrade|te|host|content-type|content-length)$/
const legalName = /^[0-9a-z_.-]+$/
const legalText = /^[ -~]*$/

/** Sets what is configured as a header of answers, if gRPC can say it. */
export function tell(metadata: Metadata, name: string, value: string): void {
  const lower = name.toLowerCase()
  if (reserved.test(lower) || !legalName.test(lower)) return
  if (lower.endsWith('-bin')) metadata.set(lower, Buffer.from(value, 'base64'))
  else if (legalText.test(value)) metadata.set(lower, value)
}
