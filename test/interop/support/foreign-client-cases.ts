import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadAdminToken } from '../../../control-plane/api/auth.ts'
import type { ClientStatus } from '../../../control-plane/discovery/status.ts'
import { SqliteStore } from '../../../control-plane/store/sqlite.ts'
import { Harness } from '../../../control-plane/testing/harness.ts'
import { controlPlaneProcess } from '../../../control-plane/testing/process.ts'
import { startBackend } from './backend.ts'
import { ForeignClient, type Peer } from './foreign-client.ts'
import { bootstrap, endpointOf, ForeignMesh } from './foreign-mesh.ts'

/** What a client's library is known to do unlike the others; each is told to readers in docs/foreign-clients.md. */
export interface Quirks {
  /** Deadlines of routes may fire early. */
  readonly earlyRouteTimeouts?: boolean
  /** It balances by reported load (gRFC A58); others take round robin. */
  readonly goesByLoad?: boolean
  /** What is deleted stays in force until there is something new (gRFC A88). */
  readonly keepsWhatIsDeleted?: boolean
  /** Nobody asks it what becomes of its calls. */
  readonly reportsNoLoad?: boolean
}

const fqdn = (service: string) => `${service}.default.svc.cluster.local`

/** Around the share that `of` calls should have: 5.5 standard deviations, which chance exceeds once in 26 million. */
function expectShare(hits: number, of: number, share: number): void {
  const margin = 5.5 * Math.sqrt(of * share * (1 - share))
  expect(hits).toBeGreaterThan(of * share - margin)
  expect(hits).toBeLessThan(of * share + margin)
}

function resource(kind: string, name: string, spec: string): string {
  const group = kind === 'TrafficSplit' ? 'inmesh.dev' : 'networking.istio.io'
  return `---\napiVersion: ${group}/v1\nkind: ${kind}\nmetadata: { name: ${name}, namespace: default }\nspec: ${spec}\n`
}

const subsets = 'subsets: [{ name: v1, labels: { version: v1 } }, { name: v2, labels: { version: v2 } }]'

/** All that every foreign client must get from the control plane, tried with an unmodified one. */
export function describeForeignClient(peer: Peer, quirks: Quirks = {}): void {
  if ('missing' in peer.start) {
    const notRun = `not run: ${peer.name} (${peer.start.missing})`
    console.log(notRun)
    it.skipIf(true)(notRun, () => {})
    return
  }
  describe(peer.name, () => {
    describe('with a control plane that is there', () => withControlPlane(peer, quirks))
    it('fails no call while the control plane is dead for 3 s, and hears of changes after', () => outage(peer))
  })
}

function withControlPlane(peer: Peer, quirks: Quirks): void {
  const harness = new Harness()
  let mesh: ForeignMesh
  beforeAll(async () => {
    mesh = await ForeignMesh.start(harness, peer)
  })
  afterAll(() => harness.cleanUp())

  /** Calls until each of `names` has answered and nobody else does: the connections are there. */
  async function warm(target: string, names: readonly string[]): Promise<void> {
    const seen = async () => Object.keys((await mesh.client.call({ target, count: 2 * names.length })).answers).sort()
    await expect.poll(seen, { timeout: 5_000, interval: 20 }).toEqual([...names].sort())
  }

  it('calls by the short name and by the full name with a port', async () => {
    await mesh.serve('payments', 'one', 'two', 'three')
    for (const target of ['xds:///payments', `xds:///${fqdn('payments')}:8080`]) {
      const { codes, errors, ms } = await mesh.client.call({ target, deadlineMs: 5_000 })
      expect({ target, codes, errors }).toEqual({ target, codes: { 0: 1 }, errors: [] })
      expect(ms).toBeLessThan(5_000)
    }
    await mesh.synced()
  })

  it('calls three servers in turn', async () => {
    await warm('xds:///payments', ['one', 'two', 'three'])
    const { answers } = await mesh.client.call({ target: 'xds:///payments', count: 90 })
    expect(answers).toEqual({ one: 30, two: 30, three: 30 })
    await mesh.synced()
  })

  it('splits by a TrafficSplit, and sends a header of it to v2', async () => {
    await mesh.serve('split', 'old/v1', 'new/v2')
    await mesh.apply(
      resource(
        'TrafficSplit',
        'split',
        '{ destinationService: split, v1Weight: 80, v2Weight: 20, headerMatch: { X-Canary: "true" } }',
      ),
    )
    const target = 'xds:///split'
    await warm(target, ['old', 'new'])
    const { answers, codes } = await mesh.client.call({ target, count: 500 })
    expect(codes).toEqual({ 0: 500 })
    expectShare(answers.new ?? 0, 500, 0.2)
    const canary = await mesh.client.call({ target, count: 20, metadata: { 'x-canary': 'true' } })
    expect(canary.answers).toEqual({ new: 20 })
    await mesh.synced()
  })

  it('splits by a VirtualService over subsets of a DestinationRule', async () => {
    await mesh.serve('weighted', 'old/v1', 'new/v2')
    const to = (subset: string, weight: number) =>
      `{ destination: { host: weighted, subset: ${subset} }, weight: ${weight} }`
    await mesh.apply(
      resource('DestinationRule', 'weighted', `{ host: weighted, ${subsets} }`) +
        resource(
          'VirtualService',
          'weighted',
          `{ hosts: [weighted], http: [{ route: [${to('v1', 30)}, ${to('v2', 70)}] }] }`,
        ),
    )
    await warm('xds:///weighted', ['old', 'new'])
    const { answers } = await mesh.client.call({ target: 'xds:///weighted', count: 500 })
    expectShare(answers.new ?? 0, 500, 0.7)
    await mesh.synced()
  })

  it('routes by metadata: exact, prefix, whole regular expression, absence, and not this value', async () => {
    await mesh.serve('routed', 'exact/exact', 'prefix/prefix', 'regex/regex', 'without/without', 'rest/rest')
    const rule = (match: string, subset: string) =>
      `{ match: [{ ${match} }], route: [{ destination: { host: routed, subset: ${subset} } }] }`
    await mesh.apply(
      resource(
        'VirtualService',
        'routed',
        `{ hosts: [routed], http: [
          ${rule('headers: { X-Canary: { exact: "Yes" } }', 'exact')},
          ${rule('headers: { x-user: {} }, sourceLabels: { app: somebody-else }', 'exact')},
          ${rule('headers: { x-caller: {} }, sourceLabels: { app: frontend, tier: web }', 'exact')},
          ${rule('headers: { x-user: { prefix: "test-" } }', 'prefix')},
          ${rule('uri: { regex: "/test\\\\.Echo/(A|Who).*" }, headers: { x-kind: { regex: "a|b" } }', 'regex')},
          ${rule('headers: { x-group: {} }, withoutHeaders: { x-secret: {}, x-env: { exact: prod } }', 'without')},
          { route: [{ destination: { host: routed, subset: rest } }] }] }`,
      ),
    )
    const answerTo = async (metadata: Record<string, string>) => {
      const { answers, errors } = await mesh.client.call({ target: 'xds:///routed', metadata })
      return Object.keys(answers)[0] ?? errors[0]
    }
    for (const [metadata, expected] of [
      [{ 'x-canary': 'Yes' }, 'exact'],
      [{ 'x-canary': 'yes' }, 'rest'],
      [{ 'x-caller': '1' }, 'exact'],
      [{ 'x-user': 'test-7' }, 'prefix'],
      [{ 'x-user': 'a-test-7' }, 'rest'],
      [{ 'x-kind': 'b' }, 'regex'],
      [{ 'x-kind': 'ac' }, 'rest'],
      [{ 'x-kind': 'cb' }, 'rest'],
      [{ 'x-group': '1' }, 'without'],
      [{ 'x-group': '1', 'x-env': 'dev' }, 'without'],
      [{ 'x-group': '1', 'x-env': 'prod' }, 'rest'],
      [{ 'x-group': '1', 'x-secret': '1' }, 'rest'],
      [{}, 'rest'],
    ] as const)
      expect([metadata, await answerTo(metadata)]).toEqual([metadata, expected])
    await mesh.synced()
  })

  it('balances by the load that servers report where it can, else in turn', async () => {
    await mesh.apply(
      `apiVersion: inmesh.dev/v1
kind: ServicePolicy
spec:
  service: loaded
  loadBalancer: WEIGHTED_ROUND_ROBIN
  weightedRoundRobin: { blackoutMs: 0, updateMs: 100 }
`,
    )
    await mesh.serve('loaded', 'busy', 'idle')
    const target = 'xds:///loaded'
    await warm(target, ['busy', 'idle'])
    const metadata = { 'x-utilization-busy': '0.8', 'x-utilization-idle': '0.2' }
    const shareOfIdle = async () => (await mesh.client.call({ target, count: 100, metadata })).answers.idle ?? 0
    const expected = quirks.goesByLoad === true ? 80 : 50
    await expect
      .poll(async () => Math.abs((await shareOfIdle()) - expected) <= 3, { timeout: 10_000, interval: 50 })
      .toBe(true)
    await mesh.synced()
  })

  it('reports what becomes of its calls, where it is asked to', async () => {
    await mesh.serve('counted', 'counted')
    const target = 'xds:///counted'
    await warm(target, ['counted'])
    if (quirks.reportsNoLoad === true) {
      expect(await mesh.loads('counted')).toEqual([])
      return
    }
    const reported = async () => {
      await mesh.client.call({ target, count: 10 })
      const rows = await mesh.loads('|counted.')
      return rows.some(({ issued, succeeded, failed }) => issued >= 10 && succeeded >= 10 && failed === 0)
    }
    await expect.poll(reported, { timeout: 10_000, interval: 100 }).toBe(true)
    const failures = async (key: number) => {
      const metadata = { 'x-fail-key': `counted ${key}`, 'x-fail-times': '1' }
      expect((await mesh.client.call({ target, metadata })).codes).toEqual({ 14: 1 })
      return (await mesh.loads('|counted.')).some(({ failed }) => failed > 0)
    }
    let key = 0
    await expect.poll(() => failures(key++), { timeout: 10_000, interval: 100 }).toBe(true)
    await mesh.synced()
  })

  it('follows a change of the endpoints within 2 s', async () => {
    const [before] = await mesh.serve('moving', 'before')
    await warm('xds:///moving', ['before'])
    const after = await mesh.backend('after')
    const start = performance.now()
    await mesh.register([endpointOf('moving', after.port)], [endpointOf('moving', before!.port)])
    await expect
      .poll(async () => (await mesh.client.call({ target: 'xds:///moving' })).answers, { interval: 10, timeout: 5_000 })
      .toEqual({ after: 1 })
    expect(performance.now() - start).toBeLessThan(2_000)
    const { answers } = await mesh.client.call({ target: 'xds:///moving', count: 20 })
    expect(answers).toEqual({ after: 20 })
    await mesh.synced()
  })

  it('ends calls at the timeout of a VirtualService, and no call without one', async () => {
    await mesh.serve('slow', 'slow')
    const target = 'xds:///slow'
    const metadata = { 'x-delay-ms': '6000' }
    const [, timed] = await Promise.all([
      mesh.client.call({ target, metadata: {} }),
      (async () => {
        await mesh.serve('timed', 'timed')
        const route = '{ timeout: 300ms, route: [{ destination: { host: timed } }] }'
        await mesh.apply(resource('VirtualService', 'timed', `{ hosts: [timed], http: [${route}] }`))
        return mesh.client.call({ target: 'xds:///timed', metadata })
      })(),
    ])
    expect(timed.codes).toEqual({ 4: 1 })
    expect(timed.ms).toBeLessThan(3_000)
    if (quirks.earlyRouteTimeouts !== true) {
      expect(timed.ms).toBeGreaterThan(280)
      const quick = await mesh.client.call({ target: 'xds:///timed', count: 10 })
      expect(quick.codes).toEqual({ 0: 10 })
    }
    // The 5 s that inmesh gives answers to begin are no deadline for gRPC, which would count the whole call.
    const patient = await mesh.client.call({ target, metadata })
    expect(patient.codes).toEqual({ 0: 1 })
    await mesh.synced()
  })

  it('retries what a VirtualService says, and nothing by default', async () => {
    await mesh.serve('flaky', 'flaky')
    await mesh.serve('plain', 'plain')
    const retries = 'retries: { attempts: 2, retryOn: "unavailable,5xx,503", backoff: 10ms }'
    await mesh.apply(
      resource(
        'VirtualService',
        'flaky',
        `{ hosts: [flaky], http: [{ ${retries}, route: [{ destination: { host: flaky } }] }] }`,
      ),
    )
    const failing = (key: string, times: number) => ({ 'x-fail-key': key, 'x-fail-times': String(times) })
    const call = async (service: string, metadata: Record<string, string>) =>
      (await mesh.client.call({ target: `xds:///${service}`, metadata })).codes
    expect(await call('flaky', failing('a', 2))).toEqual({ 0: 1 })
    expect(await call('flaky', failing('b', 3))).toEqual({ 14: 1 })
    expect(await call('plain', failing('c', 1))).toEqual({ 14: 1 })
    await mesh.synced()
  })

  it('injects the faults of a VirtualService: aborts, and delays before them', async () => {
    await mesh.serve('faulty', 'faulty')
    const match = (value: string) => `match: [{ headers: { x-fault: { exact: ${value} } } }]`
    const to = 'route: [{ destination: { host: faulty } }]'
    const always = 'percentage: { value: 100 }'
    await mesh.apply(
      resource(
        'VirtualService',
        'faulty',
        `{ hosts: [faulty], http: [
          { ${match('abort')}, fault: { abort: { grpcStatus: NOT_FOUND, ${always} } }, ${to} },
          { ${match('delay')}, fault: { delay: { fixedDelay: 400ms, ${always} } }, ${to} },
          { ${match('both')}, fault: { delay: { fixedDelay: 400ms, ${always} }, abort: { httpStatus: 403, ${always} } }, ${to} },
          { ${to} }] }`,
      ),
    )
    const faulty = (value: string) =>
      mesh.client.call({ target: 'xds:///faulty', metadata: { 'x-fault': value }, deadlineMs: 5_000 })
    await warm('xds:///faulty', ['faulty'])
    expect((await faulty('abort')).codes).toEqual({ 5: 1 })
    const delayed = await faulty('delay')
    expect(delayed.answers).toEqual({ faulty: 1 })
    expect(delayed.ms).toBeGreaterThanOrEqual(395)
    const both = await faulty('both')
    expect(both.codes).toEqual({ 7: 1 })
    expect(both.ms).toBeGreaterThanOrEqual(395)
    expect((await faulty('none')).answers).toEqual({ faulty: 1 })
    await mesh.synced()
  })

  it('keeps the limit of requests in flight', async () => {
    await mesh.serve('limited', 'limited')
    await mesh.apply(
      resource(
        'DestinationRule',
        'limited',
        '{ host: limited, trafficPolicy: { connectionPool: { http: { http2MaxRequests: 5 } } } }',
      ),
    )
    await warm('xds:///limited', ['limited'])
    const { codes } = await mesh.client.call({
      ...{ target: 'xds:///limited', count: 20, concurrent: true, spacingMs: 20 },
      metadata: { 'x-delay-ms': '1500' },
    })
    expect(codes).toEqual({ 0: 5, 14: 15 })
    await mesh.synced()
  })

  it('is not held up by a route to a service that nobody has registered', async () => {
    await mesh.serve('known', 'known')
    const match = 'match: [{ headers: { x-new: {} } }], route: [{ destination: { host: not-there-yet } }]'
    await mesh.apply(
      resource(
        'VirtualService',
        'known',
        `{ hosts: [known], http: [{ ${match} }, { route: [{ destination: { host: known } }] }] }`,
      ),
    )
    const target = 'xds:///known'
    expect((await mesh.client.call({ target })).ms).toBeLessThan(5_000)
    expect((await mesh.client.call({ target, metadata: { 'x-new': '1' } })).codes).toEqual({ 14: 1 })
    await mesh.serve('not-there-yet', 'arrived')
    await expect
      .poll(async () => (await mesh.client.call({ target, metadata: { 'x-new': '1' } })).answers, { timeout: 5_000 })
      .toEqual({ arrived: 1 })
    await mesh.synced()
  })

  it('follows a rule that goes, comes back as it was, and goes to and fro between subsets', async () => {
    await mesh.serve('versions', 'old/v1', 'new/v2')
    const target = 'xds:///alias.example'
    const to = (subset: string) =>
      resource(
        'VirtualService',
        'alias',
        `{ hosts: [alias.example], http: [
          { match: [{ headers: { x-new: {} } }], route: [{ destination: { host: later } }] },
          { route: [{ destination: { host: ${fqdn('versions')}, subset: ${subset} } }] }] }`,
      )
    const answers = async (metadata = {}) => (await mesh.client.call({ target, metadata, deadlineMs: 2_000 })).answers
    const expectAnswers = (name: string, metadata = {}) =>
      expect.poll(() => answers(metadata), { timeout: 5_000, interval: 20 }).toEqual({ [name]: 1 })
    for (const [subset, name] of [
      ['v1', 'old'],
      ['v2', 'new'],
      ['v1', 'old'],
    ] as const) {
      await mesh.apply(to(subset))
      await expectAnswers(name)
    }
    await mesh.remove('VirtualService', 'alias')
    if (quirks.keepsWhatIsDeleted !== true) await expect.poll(() => answers(), { timeout: 5_000 }).toEqual({})
    await mesh.apply(to('v1'))
    await expectAnswers('old')
    await mesh.serve('later', 'later')
    await expectAnswers('later', { 'x-new': '1' })
    await mesh.synced()
  })

  it('calls several localities, by the weight of their endpoints', async () => {
    const backends = await Promise.all(['near', 'far', 'farther'].map((name) => mesh.backend(name)))
    const localities = ['eu/a', 'us/a/rack-1', 'us/b']
    await mesh.register(
      backends.map(({ port }, i) => ({
        ...endpointOf('global', port),
        ...{ locality: localities[i]!, weight: i === 0 ? 2 : 1 },
      })),
      [],
    )
    await warm('xds:///global', ['near', 'far', 'farther'])
    const { answers } = await mesh.client.call({ target: 'xds:///global', count: 400 })
    expectShare(answers.near ?? 0, 400, 0.5)
    expectShare(answers.far ?? 0, 400, 0.25)
    await mesh.synced()
  })

  it('keeps the calls of one user at one server, by the hash of a header', async () => {
    await mesh.apply(
      resource(
        'DestinationRule',
        'sticky',
        '{ host: sticky, trafficPolicy: { loadBalancer: { consistentHash: { httpHeaderName: x-user } } } }',
      ),
    )
    await mesh.serve('sticky', 'one', 'two', 'three')
    const target = 'xds:///sticky'
    const serversOf = async (user: number) =>
      Object.keys((await mesh.client.call({ target, count: 5, metadata: { 'x-user': `user-${user}` } })).answers)
    await expect.poll(async () => (await serversOf(0)).length, { timeout: 5_000 }).toBe(1)
    const used = new Set<string>()
    for (let user = 0; user < 20; user++) {
      const servers = await serversOf(user)
      expect(servers).toHaveLength(1)
      used.add(servers[0]!)
    }
    // That 20 users miss one of three servers is one chance in a thousand, that they miss two none to speak of.
    expect(used.size).toBeGreaterThanOrEqual(2)
    await mesh.synced()
  })

  it('goes over to another service without a failed call', async () => {
    await mesh.serve('blue', 'blue')
    await mesh.serve('green', 'green')
    const to = (host: string) =>
      resource('VirtualService', 'front', `{ hosts: [blue], http: [{ route: [{ destination: { host: ${host} } }] }] }`)
    await mesh.apply(to('blue'))
    const target = 'xds:///blue'
    await warm(target, ['blue'])
    const calling = mesh.client.call({ target, durationMs: 2_000, spacingMs: 5 })
    await mesh.apply(to('green'))
    const { codes, answers } = await calling
    expect(Object.keys(codes)).toEqual(['0'])
    expect(answers.green).toBeGreaterThan(0)
    await warm(target, ['green'])
    await mesh.synced()
  })

  it('leaves an unhealthy endpoint alone, and fails fast when none is left', async () => {
    const [good, bad] = await mesh.serve('partly', 'good', 'bad')
    const marked = (port: number) => ({ ...endpointOf('partly', port), health: 'UNHEALTHY' as const })
    await warm('xds:///partly', ['good', 'bad'])
    await mesh.register([marked(bad!.port)], [])
    await warm('xds:///partly', ['good'])
    await mesh.register([marked(good!.port)], [])
    await expect
      .poll(async () => (await mesh.client.call({ target: 'xds:///partly' })).codes, { timeout: 5_000 })
      .toEqual({ 14: 1 })
    await mesh.synced()
  })

  it('calls by mutual TLS where a DestinationRule says so, and trusts the right identity only', async () => {
    const right = await mesh.secureBackend('secure', 'secure')
    const wrong = await mesh.secureBackend('wrong', 'someone-else')
    await mesh.register([endpointOf('secure', right.port), endpointOf('impersonated', wrong.port)], [])
    const mutual = (service: string) =>
      resource('DestinationRule', service, `{ host: ${service}, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }`)
    await mesh.apply(mutual('secure') + mutual('impersonated'))
    expect(await mesh.client.call({ target: 'xds:///secure' })).toMatchObject({ answers: { secure: 1 }, errors: [] })
    const refused = await mesh.client.call({ target: 'xds:///impersonated' })
    expect(refused).toMatchObject({ answers: {}, codes: { 14: 1 } })
    await mesh.synced()
  })

  it('calls gRPC servers of the mesh, which know who it is', async () => {
    await mesh.member('member')
    const target = 'xds:///member'
    await warm(target, ['member'])
    const security = (kind: string, spec: string) =>
      `---\napiVersion: security.istio.io/v1\nkind: ${kind}\nmetadata: { name: member, namespace: default }\nspec: ${spec}\n`
    const allow = (path: string) =>
      security(
        'AuthorizationPolicy',
        `{ selector: { matchLabels: { app: member } }, action: ALLOW, rules: [{
          from: [{ source: { principals: [cluster.local/ns/default/sa/foreign] } }],
          to: [{ operation: { paths: [${path}] } }] }] }`,
      )
    await mesh.apply(
      resource('DestinationRule', 'member', '{ host: member, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }') +
        security('PeerAuthentication', '{ selector: { matchLabels: { app: member } }, mtls: { mode: STRICT } }') +
        allow('/test.Echo/WhoAreYou'),
    )
    const codes = async () => (await mesh.client.call({ target, count: 5 })).codes
    await expect.poll(codes, { timeout: 10_000 }).toEqual({ 0: 5 })
    await mesh.apply(allow('/test.Echo/Else'))
    await expect.poll(codes, { timeout: 10_000 }).toEqual({ 7: 5 })
    await mesh.synced()
  })

  it('takes every field that a rule may have', async () => {
    await mesh.serve('everything', 'everything/v1')
    const policy = `{
      loadBalancer: { simple: LEAST_REQUEST },
      connectionPool: {
        tcp: { maxConnections: 5, connectTimeout: 2s, idleTimeout: 10s },
        http: { http1MaxPendingRequests: 9, http2MaxRequests: 100, maxRequestsPerConnection: 50, maxRetries: 2 } },
      outlierDetection: { consecutive5xxErrors: 3, consecutiveGatewayErrors: 2, interval: 1s, minHealthPercent: 30 },
      retryBudget: { percent: 25 } }`
    const route = 'route: [{ destination: { host: everything, subset: v1 } }]'
    await mesh.apply(
      resource(
        'DestinationRule',
        'everything',
        `{ host: everything, trafficPolicy: ${policy}, subsets: [{ name: v1, labels: { version: v1 } }] }`,
      ) +
        resource(
          'VirtualService',
          'everything',
          `{ hosts: [everything], http: [
            { match: [{ method: { exact: GET } }, { queryParams: { q: {} } }], ${route} },
            { match: [{ uri: { prefix: /TEST.echo/ }, ignoreUriCase: true, method: { exact: POST } }], timeout: 1h,
              retries: { attempts: 9, perTryTimeout: 2s, retryOn: "gateway-error,reset,cancelled", backoff: 1s },
              ${route} },
            { timeout: 0s, retries: { attempts: 1, retryOn: "connect-failure" }, ${route} }] }`,
        ),
    )
    expect(await mesh.client.call({ target: 'xds:///everything' })).toMatchObject({ answers: { everything: 1 } })
    await mesh.synced()
  })

  it('outlives the sweeps of outlier detection, with calls and without', async () => {
    await mesh.serve('swept', 'one', 'two')
    await mesh.apply(
      resource('DestinationRule', 'swept', '{ host: swept, trafficPolicy: { outlierDetection: {} } }') +
        resource(
          'DestinationRule',
          'everything-else',
          '{ host: payments, trafficPolicy: { outlierDetection: { interval: 1s, maxEjectionPercent: 100 } } }',
        ),
    )
    await warm('xds:///swept', ['one', 'two'])
    await warm('xds:///payments', ['one', 'two', 'three'])
    // The default interval is 10 s.
    await sleep(12_000)
    for (const target of ['xds:///swept', 'xds:///payments'])
      expect((await mesh.client.call({ target, count: 6 })).codes).toEqual({ 0: 6 })
    await mesh.synced()
  })
}

/** A control plane in a process of its own, so that it can be killed. */
async function outage(peer: Peer): Promise<void> {
  const harness = new Harness()
  try {
    const dataDir = await harness.folder()
    const backends = await Promise.all(['one', 'two', 'late'].map((name) => startBackend(name)))
    for (const backend of backends) harness.after(() => backend.stop())
    const [one, two, late] = backends.map((backend) => endpointOf('payments', backend.port))
    const store = new SqliteStore({ path: `${dataDir}/store.db` })
    harness.after(() => store.close())
    await store.endpoints.change([one!, two!], [])

    const start = async (xds: string) => {
      const started = await controlPlaneProcess(dataDir, ['--insecure-xds', xds])
      harness.after(() => started.stop('SIGKILL'))
      return started
    }
    const first = await start('127.0.0.1:0')
    const client = new ForeignClient(peer, bootstrap(first.insecureXdsPort!))
    harness.after(() => client.kill())
    const target = 'xds:///payments'
    const call = () => client.call({ target, count: 12 })
    await expect.poll(async () => Object.keys((await call()).answers).length, { timeout: 5_000 }).toBe(2)

    const calling = client.call({ target, durationMs: 5_000, spacingMs: 10 })
    await first.stop('SIGKILL')
    await sleep(3_000)
    const second = await start(`127.0.0.1:${first.insecureXdsPort}`)
    const { codes, errors } = await calling
    expect({ failed: Object.keys(codes).filter((code) => code !== '0'), errors }).toEqual({ failed: [], errors: [] })
    expect(codes[0]).toBeGreaterThan(200)

    await store.endpoints.change([late!], [])
    // grpc-go comes back after up to 5.2 s.
    const names = async () => Object.keys((await call()).answers).sort()
    await expect.poll(names, { timeout: 15_000, interval: 50 }).toEqual(['late', 'one', 'two'])
    const adminToken = await loadAdminToken(dataDir)
    await expect.poll(() => statesOf(second.adminUrl, adminToken)).toEqual(Array.from({ length: 4 }, () => 'SYNCED'))
    expect(first.output.stderr + second.output.stderr).not.toContain('refused')
  } finally {
    await harness.cleanUp()
  }
}

async function statesOf(adminUrl: string, token: string): Promise<string[]> {
  const answer = await fetch(`${adminUrl}/v1/clients`, { headers: { authorization: `Bearer ${token}` } })
  expect(answer.status).toBe(200)
  const { clients } = (await answer.json()) as { clients: ClientStatus[] }
  return clients.flatMap(({ types }) => types.map(({ state }) => state))
}
