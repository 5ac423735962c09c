import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { formatProblem } from '../../src/errors.ts'
import { isPrime } from './consistent-hash.ts'
import { parseDocuments } from './document.ts'
import { validateBatch } from './validate.ts'

const existing = { objects: [], endpoints: [], services: [{ service: 'a', namespace: 'default', firstSeenAt: 0 }] }

function check(spec: string) {
  const text = `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, ${spec}}`
  const { documents, problems } = parseDocuments(text, 'mesh.yaml')
  const batch = validateBatch(documents, existing)
  const lines = (severity: string) =>
    [...problems, ...batch.problems].filter((p) => p.severity === severity).map(formatProblem)
  return { errors: lines('error'), warnings: lines('warning'), accepted: batch.objects.length === 1 }
}
const policy = (blocks: string) => check(`trafficPolicy: {${blocks}}`)
const hash = (fields: string) => `loadBalancer: {consistentHash: {${fields}}}`
const locality = (fields: string) => `loadBalancer: {localityLbSetting: {${fields}}}`
const outlier = (fields: string) => `outlierDetection: {${fields}}`
const tls = (fields: string) => `tls: {${fields}}`
const PEM = '"-----BEGIN CERTIFICATE-----"'

describe('a DestinationRule', () => {
  it.each([
    hash('httpHeaderName: x-user'),
    hash('httpCookie: {name: user, path: /, ttl: 0s}'),
    hash('useSourceIp: true, maglev: {tableSize: 65537}'),
    hash('httpQueryParameterName: q, ringHash: {minimumRingSize: 2048}'),
    hash('httpHeaderName: x, minimumRingSize: 64'),
    'loadBalancer: {simple: PEAK_EWMA, warmup: {duration: 30s, minimumPercent: 5, aggression: 2}}',
    'loadBalancer: {simple: ROUND_ROBIN, warmupDurationSecs: 30s}',
    locality('distribute: [{from: us/east, to: {us/east: 80, us/west: 20}}]'),
    locality('failover: [{from: us, to: eu}]'),
    locality('failoverPriority: [topology.kubernetes.io/region, version=v1]'),
    'connectionPool: {http: {h2UpgradePolicy: UPGRADE}}',
    outlier('splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 3'),
    outlier('outlierDetectionHttpErrorCodes: ["5xx", 429, "500-504"]'),
    tls('mode: SIMPLE, sni: api.example.com, subjectAltNames: [api.example.com]'),
    tls(`mode: SIMPLE, caCertificates: ${PEM}`),
    tls('mode: MUTUAL, clientCertificate: /etc/c.pem, privateKey: /etc/k.pem, caCertificates: /etc/ca.pem'),
    tls('mode: ISTIO_MUTUAL, subjectAltNames: ["spiffe://cluster.local/ns/a/sa/b"]'),
    'retryBudget: {percent: 10}',
  ])('takes %s without a word', (blocks) => {
    expect(policy(blocks)).toEqual({ errors: [], warnings: [], accepted: true })
    const port = blocks.replace(/^/, 'portLevelSettings: [{port: {number: 80}, ').concat('}]')
    expect(check(`subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {${port}}}]`).errors).toEqual([])
  })

  it.each([
    [hash(''), 'consistentHash: must have exactly one of httpHeaderName'],
    [hash('httpHeaderName: x, useSourceIp: true'), 'consistentHash.useSourceIp: must have exactly one'],
    [hash('useSourceIp: false'), 'useSourceIp: must be true or left out'],
    [hash('httpHeaderName: "x y"'), '"x y" is not a header name'],
    [hash('httpCookie: {name: "a=b"}'), '"a=b" is not a cookie name'],
    [hash('httpCookie: {ttl: 1s}'), 'httpCookie.name: is required'],
    [hash('useSourceIp: true, maglev: {tableSize: 65536}'), 'tableSize: 65536 is not a prime number'],
    [hash('useSourceIp: true, maglev: {tableSize: 5000077}'), 'tableSize: must be at most 5000011'],
    [hash('useSourceIp: true, maglev: {}, ringHash: {}'), 'maglev: cannot stand beside a ring size'],
    [hash('useSourceIp: true, ringHash: {minimumRingSize: 8388609}'), 'minimumRingSize: must be at most 8388608'],
    [
      'loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}',
      'simple: cannot stand beside consistentHash',
    ],
    [locality('distribute: [{from: a, to: {b: 50}}]'), 'to: the shares sum to 50, not to 100'],
    [
      locality('distribute: [{from: a, to: {b: 100}}], failover: [{from: a, to: b}]'),
      'distribute: cannot stand beside failover',
    ],
    [locality('failover: [{from: a, to: a}]'), 'to: is the same region as from'],
    ['loadBalancer: {warmup: {duration: 0s}}', 'warmup.duration: must be at least 1ms'],
    ['loadBalancer: {warmup: {minimumPercent: 5}}', 'warmup.duration: is required'],
    ['loadBalancer: {warmup: {duration: 1s, minimumPercent: 101}}', 'minimumPercent: must be at most 100'],
    ['loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}', 'cannot stand beside warmup'],
    ['connectionPool: {http: {h2UpgradePolicy: YES}}', 'must be one of DEFAULT, DO_NOT_UPGRADE, UPGRADE'],
    [outlier('outlierDetectionHttpErrorCodes: [6xx]'), '"6xx" is not a status'],
    [outlier('outlierDetectionHttpErrorCodes: ["504-500"]'), '"504-500" is not a status'],
    [outlier('minHealthPercent: 101'), 'minHealthPercent: must be at most 100'],
    [tls('mode: MUTUAL'), 'clientCertificate: is required in mode MUTUAL'],
    [tls('mode: MUTUAL, clientCertificate: /c'), 'privateKey: is required in mode MUTUAL'],
    [tls(`mode: MUTUAL, clientCertificate: /c, privateKey: ${PEM}`), 'private keys do not belong into configuration'],
    [tls('mode: SIMPLE, privateKey: /k'), 'privateKey: has no place in mode SIMPLE'],
    [tls('mode: ISTIO_MUTUAL, caCertificates: /ca'), 'caCertificates: has no place in mode ISTIO_MUTUAL'],
    [tls('mode: ISTIO_MUTUAL, subjectAltNames: [a.b]'), 'must be a SPIFFE id'],
    [tls('mode: SIMPLE, caCertificates: relative.pem'), 'must be PEM or an absolute path'],
    [tls('mode: SIMPLE, sni: 10.0.0.1'), 'sni: must be a name, not an address'],
    [tls('mode: SIMPLE, insecureSkipVerify: true, caCertificates: /ca'), 'cannot stand beside caCertificates'],
    [tls('mode: SIMPLE, credentialName: secret'), 'credentialName: is not supported: callers read files'],
    [tls('mode: SIMPLE, caCrl: /crl'), 'caCrl: is not supported'],
    ['tunnel: {protocol: CONNECT}', 'tunnel: is not supported'],
    ['proxyProtocol: {version: V2}', 'proxyProtocol: is not supported'],
    ['loadBalancer: {simple: PASSTHROUGH}, tls: {mode: ISTIO_MUTUAL}', 'calls that leave the mesh cannot have tls'],
    ['retryBudget: {percent: 101}', 'retryBudget.percent: must be at most 100'],
  ])('refuses %s', (blocks, message) => {
    for (const text of [policy(blocks), policy(`portLevelSettings: [{port: {number: 80}, ${blocks}}]`)]) {
      expect(text.errors.join('\n')).toContain(message)
      expect(text.errors[0]).toMatch(/^mesh\.yaml:\d+:\d+: /)
      expect(text.accepted).toBe(false)
    }
  })

  it.each([
    ['loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}', 'warmup: has no effect'],
    ['loadBalancer: {simple: PASSTHROUGH}', 'such calls leave the mesh'],
    [hash('useSourceIp: true, ringHash: {}, minimumRingSize: 2'), 'has no effect beside ringHash'],
    ['connectionPool: {tcp: {tcpKeepalive: {time: 1s}}}', 'tcpKeepalive: has no effect'],
    ['connectionPool: {tcp: {maxConnectionDuration: 1h}}', 'maxConnectionDuration: is not supported yet'],
    ['connectionPool: {http: {maxConcurrentStreams: 5}}', 'maxConcurrentStreams: has no effect'],
    [outlier('consecutiveGatewayErrors: 5'), 'consecutiveGatewayErrors: has no effect'],
    [outlier('consecutiveLocalOriginFailures: 5'), 'has no effect without splitExternalLocalOriginErrors'],
    [outlier('consecutiveErrors: 5'), 'is the older name of consecutiveGatewayErrors'],
    [tls('sni: a.b'), 'sni: has no place in mode DISABLE'],
    [tls(''), 'tls: has no mode, which means DISABLE: calls are sent as plaintext'],
    [tls('mode: SIMPLE, insecureSkipVerify: true'), 'any server is believed'],
    ['retryBudget: {budgetInterval: 10s}', 'budgetInterval: has no effect'],
  ])('warns about %s', (blocks, message) => {
    const { errors, warnings } = policy(blocks)
    expect(errors).toEqual([])
    expect(warnings.join('\n')).toContain(message)
  })

  it('is for whom it says: exportTo, workloadSelector', () => {
    expect(check('exportTo: ["."]').errors).toEqual([])
    expect(check('exportTo: ["*", "other"]').errors.join()).toContain('cannot stand beside others')
    expect(check('exportTo: [.., a]').errors.join()).toContain('exportTo[0]: must be')
    expect(check('workloadSelector: {matchLabels: {app: a}}, exportTo: ["*"]').warnings.join()).toContain(
      'a rule with a workloadSelector is for its own namespace',
    )
  })
})

it('primes are told from other numbers', () => {
  expect([0, 1, 2, 3, 4, 9, 25, 65_537, 5_000_011].filter(isPrime)).toEqual([2, 3, 65_537, 5_000_011])
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 2_000 }), fc.integer({ min: 2, max: 2_000 }), (a, b) => !isPrime(a * b)),
  )
})
