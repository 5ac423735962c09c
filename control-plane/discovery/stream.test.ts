import { describe, expect, it } from 'vitest'
import { TypeUrl } from '../../src/xds/proto.ts'
import type { EncodedResource } from '../translate/types.ts'
import { DiscoveryStream } from './stream.ts'

const { cluster: CDS, endpoints: EDS, listener: LDS, route: RDS } = TypeUrl
const short: Record<string, string> = { [CDS]: 'CDS', [EDS]: 'EDS', [LDS]: 'LDS', [RDS]: 'RDS' }

/** A stream with content that tests change, and a client that ACKs when told to. */
class Bench {
  readonly content = new Map<string, EncodedResource>()
  readonly nonces = new Map<string, string>()
  readonly names = new Map<string, string[]>()
  version = '1'
  readonly stream: DiscoveryStream

  constructor() {
    const bench = this
    this.stream = new DiscoveryStream({
      get version() {
        return bench.version
      },
      lookup: (typeUrl, name) => this.content.get(`${typeUrl} ${name}`),
    })
  }

  set(typeUrl: string, name: string, version: string | undefined) {
    if (version === undefined) this.content.delete(`${typeUrl} ${name}`)
    else this.content.set(`${typeUrl} ${name}`, { typeUrl, name, version, any: new Uint8Array() })
    this.stream.suspect(typeUrl, name)
  }

  /** "CDS a@1 b@2", one for each response. */
  poll(now = 0): string[] {
    return this.stream.poll(now).responses.map((response) => {
      this.nonces.set(response.typeUrl, response.nonce)
      return [short[response.typeUrl], ...response.resources.map((r) => `${r.name}@${r.version}`)].join(' ')
    })
  }

  ask(typeUrl: string, ...names: string[]) {
    this.names.set(typeUrl, names)
    this.stream.onRequest(typeUrl, { nonce: this.nonces.get(typeUrl) ?? '', names, error: null }, 0)
  }

  ack(...typeUrls: string[]) {
    for (const typeUrl of typeUrls) this.ask(typeUrl, ...(this.names.get(typeUrl) ?? []))
  }

  nack(typeUrl: string) {
    const request = {
      nonce: this.nonces.get(typeUrl)!,
      names: this.names.get(typeUrl)!,
      error: { code: 3, message: 'no' },
    }
    this.stream.onRequest(typeUrl, request, 0)
  }

  /** A client in sync with listener, route, cluster and endpoints, all at version 1. */
  static synced(): Bench {
    const b = new Bench()
    b.set(LDS, 'l', '1')
    b.set(RDS, 'r', '1')
    b.set(CDS, 'old', '1')
    b.set(EDS, 'old', '1')
    for (const [typeUrl, name] of [
      [LDS, 'l'],
      [RDS, 'r'],
      [CDS, 'old'],
      [EDS, 'old'],
    ] as const) {
      b.ask(typeUrl, name)
      b.poll()
      b.ack(typeUrl)
    }
    expect(b.poll()).toEqual([])
    return b
  }
}

describe('one aggregated stream', () => {
  it('sends the types of one push in the order clusters, endpoints, listeners, routes', () => {
    const b = Bench.synced()
    for (const [typeUrl, name] of [
      [RDS, 'r'],
      [LDS, 'l'],
      [EDS, 'old'],
      [CDS, 'old'],
    ] as const)
      b.set(typeUrl, name, '2')
    expect(b.poll()).toEqual(['CDS old@2', 'EDS old@2', 'LDS l@2', 'RDS r@2'])
  })

  it('answers types in whatever order they are asked for after a reconnect', () => {
    const b = new Bench()
    b.set(EDS, 'old', '1')
    b.set(CDS, 'old', '1')
    b.ask(EDS, 'old')
    expect(b.poll()).toEqual(['EDS old@1'])
    b.ask(CDS, 'old')
    expect(b.poll()).toEqual(['CDS old@1'])
  })

  it('keeps types apart: an unanswered one does not hold up another first answer', () => {
    const b = new Bench()
    b.set(LDS, 'l', '1')
    b.set(RDS, 'r', '1')
    b.ask(LDS, 'l')
    expect(b.poll()).toEqual(['LDS l@1'])
    b.ask(RDS, 'r')
    expect(b.poll()).toEqual(['RDS r@1'])
  })

  it('holds a route back while clusters of the same push wait for an answer to an earlier response', () => {
    const b = Bench.synced()
    b.set(CDS, 'old', '2')
    expect(b.poll()).toEqual(['CDS old@2'])
    b.set(CDS, 'old', '3')
    b.set(RDS, 'r', '3')
    expect(b.poll()).toEqual([])
    b.ack(CDS)
    expect(b.poll()).toEqual(['CDS old@3', 'RDS r@3'])
  })

  it('removes a cluster only when the client has ACKed routes without it', () => {
    const b = Bench.synced()
    b.set(RDS, 'r', '2')
    b.set(CDS, 'old', undefined)
    expect(b.poll()).toEqual(['RDS r@2'])
    b.ack(RDS)
    expect(b.poll()).toEqual(['CDS'])
  })

  it('keeps a removed cluster while the client refuses the routes without it', () => {
    const b = Bench.synced()
    b.set(RDS, 'r', 'bad')
    b.set(CDS, 'old', undefined)
    b.poll()
    b.nack(RDS)
    expect(b.poll()).toEqual([])
    b.set(RDS, 'r', '3')
    expect(b.poll()).toEqual(['RDS r@3'])
    b.ack(RDS)
    expect(b.poll()).toEqual(['CDS'])
  })

  it('says nothing of a removed cluster that the client gave up by itself', () => {
    const b = Bench.synced()
    b.set(RDS, 'r', '2')
    b.set(CDS, 'old', undefined)
    b.poll()
    b.ack(RDS)
    b.ask(CDS)
    expect(b.poll()).toEqual([])
  })

  it('answers types that it does not know with nothing, and stays open', () => {
    const b = new Bench()
    b.ask('type.googleapis.com/some.Other', 'x')
    expect(b.poll()).toHaveLength(1)
    b.set(LDS, 'l', '1')
    b.ask(LDS, 'l')
    expect(b.poll()).toEqual(['LDS l@1'])
  })

  it('refuses a client that asks for ever more types', () => {
    const b = new Bench()
    expect(() => {
      for (let i = 0; i < 100; i++) b.ask(`type/${i}`, 'x')
    }).toThrow(RangeError)
  })

  it('uses a nonce once', () => {
    const b = new Bench()
    const seen = new Set<string>()
    for (let i = 0; i < 20; i++) {
      b.set(CDS, 'c', String(i))
      b.ask(CDS, 'c')
      for (const response of b.stream.poll(0).responses) {
        expect(seen).not.toContain(response.nonce)
        seen.add(response.nonce)
        b.nonces.set(CDS, response.nonce)
      }
    }
    expect(seen.size).toBe(20)
  })

  it('says since when a response is unanswered', () => {
    const b = new Bench()
    b.set(CDS, 'c', '1')
    b.ask(CDS, 'c')
    expect(b.stream.unansweredSince).toBe(Number.POSITIVE_INFINITY)
    b.poll(42)
    expect(b.stream.unansweredSince).toBe(42)
    b.ack(CDS)
    expect(b.stream.unansweredSince).toBe(Number.POSITIVE_INFINITY)
  })
})
