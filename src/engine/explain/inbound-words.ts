import { describeHeader, describeString } from '../../match/describe.ts'
import type { Permission, Principal } from '../../model/inbound.ts'
import type { Cidr } from '../../model/match.ts'

// Rules of authorization in words.

export function permissionWords(p: Permission): string {
  switch (p.kind) {
    case 'any':
      return 'any operation'
    case 'and':
      return all(p.rules.map(permissionWords))
    case 'or':
      return either(p.rules.map(permissionWords))
    case 'not':
      return `not (${permissionWords(p.rule)})`
    case 'header':
      return describeHeader(p.match)
    case 'path':
      return `path ${describeString(p.match)}`
    case 'destinationPort':
      return `port ${p.port}`
    case 'destinationIp':
      return `own address in ${range(p.cidr)}`
  }
}

export function principalWords(p: Principal): string {
  switch (p.kind) {
    case 'any':
      return 'any caller'
    case 'and':
      return all(p.rules.map(principalWords))
    case 'or':
      return either(p.rules.map(principalWords))
    case 'not':
      return `not (${principalWords(p.rule)})`
    case 'authenticated':
      return p.match === null ? 'any verified caller' : `caller ${describeString(p.match)}`
    case 'directRemoteIp':
    case 'remoteIp':
      return `caller's address in ${range(p.cidr)}`
    case 'header':
      return describeHeader(p.match)
    case 'path':
      return `path ${describeString(p.match)}`
  }
}

export function either(parts: readonly string[]): string {
  return parts.length === 0 ? 'nothing' : parts.join(' or ')
}

function all(parts: readonly string[]): string {
  return parts.length === 0 ? 'anything' : parts.length === 1 ? parts[0]! : `(${parts.join(' and ')})`
}

function range({ address, prefixLength }: Cidr): string {
  return `${address}/${prefixLength}`
}
