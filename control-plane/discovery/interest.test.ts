import { describe, expect, it } from 'vitest'
import { silentLogger } from '../../src/model/logger.ts'
import { TypeUrl } from '../../src/xds/proto.ts'
import type { ClientView } from '../translate/types.ts'
import { Interest } from './interest.ts'
import { DiscoveryStream } from './stream.ts'
import { aView, fakeTranslation } from './testing/fake-translation.ts'

const { cluster: CDS, endpoints: EDS, route: RDS } = TypeUrl

function join(interest: Interest, typeUrl: string, names: string[], view: ClientView = aView) {
  const reader = interest.audience(view)
  const stream = new DiscoveryStream(reader)
  stream.onRequest(typeUrl, { nonce: '', names, error: null }, 0)
  interest.update(stream, reader, typeUrl, new Set(), stream.names(typeUrl))
  return { reader, stream }
}

describe('a new translation', () => {
  it('concerns only the streams that asked for what changed', () => {
    const interest = new Interest(silentLogger)
    interest.advance(fakeTranslation(1, { [CDS]: { a: '1', b: '1' } }))
    const ofA = join(interest, CDS, ['a'])
    const ofB = join(interest, CDS, ['b'])
    const both = join(interest, CDS, ['a', 'b'])
    const changed = interest.advance(fakeTranslation(2, { [CDS]: { a: '1', b: '2' } }))
    expect(changed).toEqual(new Set([ofB.stream, both.stream]))
    expect(changed).not.toContain(ofA.stream)
  })

  it('is asked once for clients that are alike', () => {
    const interest = new Interest(silentLogger)
    interest.advance(fakeTranslation(1, { [CDS]: { a: '1' } }))
    for (let i = 0; i < 10; i++) join(interest, CDS, ['a'], { ...aView, labels: { app: 'orders', x: 'y' } })
    const next = fakeTranslation(2, { [CDS]: { a: '2' } })
    let asked = 0
    const counting = {
      ...next,
      resolve: (...args: Parameters<typeof next.resolve>) => {
        asked++
        return next.resolve(...args)
      },
    }
    expect(interest.advance(counting).size).toBe(10)
    // Once for the content, once for the check that it is complete.
    expect(asked).toBeLessThanOrEqual(2)
  })

  it('tells of what appears and what goes', () => {
    const interest = new Interest(silentLogger)
    interest.advance(fakeTranslation(1, {}))
    const { reader, stream } = join(interest, CDS, ['a'])
    expect(interest.advance(fakeTranslation(2, { [CDS]: { a: '1' } }))).toContain(stream)
    expect(reader.lookup(CDS, 'a')?.version).toBe('1')
    expect(interest.advance(fakeTranslation(3, {}))).toContain(stream)
    expect(reader.lookup(CDS, 'a')).toBeUndefined()
  })

  it('forgets streams that have ended', () => {
    const interest = new Interest(silentLogger)
    interest.advance(fakeTranslation(1, { [CDS]: { a: '1' } }))
    const { reader, stream } = join(interest, CDS, ['a'])
    interest.release(stream, reader)
    expect(interest.advance(fakeTranslation(2, { [CDS]: { a: '2' } })).size).toBe(0)
  })
})

describe('a faulty translation', () => {
  const references = { r: [{ typeUrl: CDS, name: 'c' }], c: [{ typeUrl: EDS, name: 'c' }] }

  it('holds a route back until its cluster and its endpoints exist', () => {
    const interest = new Interest(silentLogger)
    interest.advance(fakeTranslation(1, { [RDS]: { r: '1' } }, references))
    const { reader, stream } = join(interest, RDS, ['r'])
    expect(reader.lookup(RDS, 'r')).toBeUndefined()
    interest.advance(fakeTranslation(2, { [RDS]: { r: '1' }, [CDS]: { c: '1' } }, references))
    expect(reader.lookup(RDS, 'r')).toBeUndefined()
    expect(interest.faults[0]).toMatch(/RouteConfiguration r refers to ClusterLoadAssignment c/)
    const full = { [RDS]: { r: '1' }, [CDS]: { c: '1' }, [EDS]: { c: 'empty' } }
    expect(interest.advance(fakeTranslation(3, full, references))).toContain(stream)
    expect(reader.lookup(RDS, 'r')?.version).toBe('1')
    expect(interest.faults).toEqual([])
  })

  it('keeps the route that was there when the new one refers to nothing', () => {
    const interest = new Interest(silentLogger)
    const full = { [RDS]: { r: '1' }, [CDS]: { c: '1' }, [EDS]: { c: '1' } }
    interest.advance(fakeTranslation(1, full, references))
    const { reader } = join(interest, RDS, ['r'])
    interest.advance(fakeTranslation(2, { [RDS]: { r: '2' } }, references))
    expect(reader.lookup(RDS, 'r')?.version).toBe('1')
  })

  it('keeps a resource that cannot be made, and serves the others', () => {
    const interest = new Interest(silentLogger)
    interest.advance(fakeTranslation(1, { [CDS]: { a: '1', b: '1' } }))
    const { reader } = join(interest, CDS, ['a', 'b'])
    interest.advance(fakeTranslation(2, { [CDS]: { a: 'throw: no weights', b: '2' } }))
    expect(reader.lookup(CDS, 'a')?.version).toBe('1')
    expect(reader.lookup(CDS, 'b')?.version).toBe('2')
    expect(interest.faults).toEqual([expect.stringMatching(/Cluster a cannot be made: .*no weights/)])
  })

  it('survives references in a circle', () => {
    const interest = new Interest(silentLogger)
    const circle = { a: [{ typeUrl: CDS, name: 'b' }], b: [{ typeUrl: CDS, name: 'a' }] }
    interest.advance(fakeTranslation(1, { [CDS]: { a: '1', b: '1' } }, circle))
    expect(join(interest, CDS, ['a']).reader.lookup(CDS, 'a')?.version).toBe('1')
  })
})
