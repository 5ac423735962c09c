import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client, credentials, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { ControlPlane } from '../../../control-plane/index.ts'
import { Harness } from '../../../control-plane/testing/harness.ts'
import { silentLogger } from '../../../src/model/logger.ts'
import { freePorts } from '../../support/ports.ts'
import { ForeignClient, type Peer } from './foreign-client.ts'
import { bootstrap, endpointOf } from './foreign-mesh.ts'
import { ForeignServer } from './foreign-server.ts'
import { inmesh } from './toolchains.ts'

type Answer = { name: string } | { code: number }

const bytes = (value: Buffer) => value
const spiffeId = (account: string) => `spiffe://cluster.local/ns/default/sa/${account}`
const PERMISSIVE_MTLS = { 'security.istio.io/tlsMode': 'istio' }

/** What a server of a foreign library is told by the control plane, and does. */
export function describeForeignServer(peer: Peer): void {
  if ('missing' in peer.start) {
    const notRun = `not run: ${peer.name} (${peer.start.missing})`
    console.log(notRun)
    it.skipIf(true)(notRun, () => {})
    return
  }
  describe(peer.name, () => {
    const harness = new Harness()
    let controlPlane: ControlPlane
    const warnings: string[] = []
    const files = new Map<string, { cert: Buffer; key: Buffer; folder: string }>()
    const clients: Client[] = []

    beforeAll(async () => {
      const warn = (text: string, fields = {}) => warnings.push(`${text} ${JSON.stringify(fields)}`)
      controlPlane = await harness.start({ insecureXds: '127.0.0.1:0', logger: { ...silentLogger, warn } })
    })
    afterAll(async () => {
      for (const client of clients) client.close()
      await harness.cleanUp()
    })

    /** A certificate of the mesh for a service account, with its files. */
    async function member(account: string) {
      const known = files.get(account)
      if (known !== undefined) return known
      const folder = join(await harness.folder(), account)
      await mkdir(folder)
      const { certPem, privateKeyPem } = await controlPlane.issueCertificate(account, 'default', account)
      await writeFile(join(folder, 'ca.pem'), controlPlane.trustBundlePem)
      await writeFile(join(folder, 'cert.pem'), certPem)
      await writeFile(join(folder, 'key.pem'), privateKeyPem)
      const made = { cert: Buffer.from(certPem), key: Buffer.from(privateKeyPem), folder }
      files.set(account, made)
      return made
    }

    /** A server of a service that serves as soon as the control plane has told it what it is to serve. */
    async function server(service: string, labels: Record<string, string> = {}): Promise<ForeignServer> {
      const { folder } = await member(service)
      const [port] = await freePorts(1)
      const common = bootstrap(controlPlane.ports.insecureXds!, folder) as { node: object }
      const started = new ForeignServer(
        peer,
        {
          ...common,
          node: {
            ...common.node,
            metadata: { NAMESPACE: 'default', SERVICE: service, LABELS: { app: service, ...labels } },
          },
          server_listener_resource_name_template: 'srv/%s',
        },
        port!,
      )
      harness.after(() => started.kill())
      await started.serving
      return started
    }

    /** @param account null = plaintext */
    async function client(port: number, account: string | null): Promise<Client> {
      // The certificate names a SPIFFE id and no host.
      const made =
        account === null
          ? new Client(`127.0.0.1:${port}`, credentials.createInsecure())
          : await member(account).then(
              ({ cert, key }) =>
                new Client(
                  `127.0.0.1:${port}`,
                  credentials.createSsl(Buffer.from(controlPlane.trustBundlePem), key, cert, {
                    checkServerIdentity: () => undefined,
                  }),
                ),
            )
      clients.push(made)
      return made
    }

    function ask(of: Client, method = 'WhoAreYou'): Promise<Answer> {
      const deadline = Date.now() + 5_000
      return new Promise((resolve) =>
        of.makeUnaryRequest(`/test.Echo/${method}`, bytes, bytes, Buffer.alloc(0), { deadline }, (error, value) =>
          resolve(error === null ? { name: value!.toString() } : { code: error.code }),
        ),
      )
    }

    /** Until it is so: the server hears of changes a moment later. */
    function becomes(of: Client, expected: Answer, method?: string): Promise<void> {
      return expect.poll(() => ask(of, method), { timeout: 10_000, interval: 50 }).toEqual(expected)
    }

    /** What any server or client was sent it has taken. */
    async function taken(): Promise<void> {
      const refused = () =>
        controlPlane
          .clients()
          .flatMap(({ types }) => types.map(({ typeUrl, state, reason }) => `${typeUrl} ${state} ${reason}`))
          .filter((text) => !/ SYNCED $/.test(text))
      await expect.poll(refused, { timeout: 5_000 }).toEqual([])
      expect(warnings).toEqual([])
    }

    it('serves in plaintext without a word about security', async () => {
      const { port } = await server('open')
      await becomes(await client(port, null), { name: 'nobody' })
      await taken()
    })

    it('serves mutual TLS by its label or by STRICT, sees who calls, and refuses plaintext and strangers', async () => {
      await controlPlane.apply(
        'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: strict, namespace: default }\n' +
          'spec: { selector: { matchLabels: { app: strict } }, mtls: { mode: STRICT } }',
      )
      for (const { port } of [await server('labelled', PERMISSIVE_MTLS), await server('strict')]) {
        await becomes(await client(port, 'frontend'), { name: spiffeId('frontend') })
        expect(await ask(await client(port, null))).toEqual({ code: status.UNAVAILABLE })
        const stranger = new Client(
          `127.0.0.1:${port}`,
          credentials.createSsl(Buffer.from(controlPlane.trustBundlePem)),
        )
        clients.push(stranger)
        expect(await ask(stranger)).toEqual({ code: status.UNAVAILABLE })
      }
      await taken()
    })

    it('lets in whom an AuthorizationPolicy names, by identity and method, and follows its changes', async () => {
      const policy = (name: string, action: string, rules: string) =>
        `---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: ${name}, namespace: default }\n` +
        `spec: { selector: { matchLabels: { app: guarded } }, action: ${action}, rules: [${rules}] }\n`
      const by = (account: string) => `from: [{ source: { principals: [cluster.local/ns/default/sa/${account}] } }]`
      await controlPlane.apply(
        policy('allow', 'ALLOW', `{ ${by('frontend')}, to: [{ operation: { paths: [/test.Echo/WhoAreYou] } }] }`),
      )
      const { port } = await server('guarded', PERMISSIVE_MTLS)
      const [friend, other] = [await client(port, 'frontend'), await client(port, 'batch')]
      await becomes(friend, { name: spiffeId('frontend') })
      expect(await ask(friend, 'Other')).toEqual({ code: status.PERMISSION_DENIED })
      expect(await ask(other)).toEqual({ code: status.PERMISSION_DENIED })

      await controlPlane.apply(policy('allow', 'ALLOW', `{ ${by('frontend')} }, { ${by('batch')} }`))
      await becomes(other, { name: spiffeId('batch') }, 'Other')
      await controlPlane.apply(policy('deny', 'DENY', `{ ${by('batch')} }`))
      await becomes(other, { code: status.PERMISSION_DENIED })
      expect(await ask(friend, 'Other')).toEqual({ name: spiffeId('frontend') })
      await taken()
    })

    it("is called by inmesh's own client: who calls and who answers is verified at both ends", async () => {
      const named = (service: string, port: number) => ({
        ...endpointOf(service, port),
        spiffeId: spiffeId(service),
      })
      const { port } = await server('met', PERMISSIVE_MTLS)
      // The same server under the name of a service that it is not.
      await controlPlane.store.endpoints.change([named('met', port), named('impersonated', port)], [])
      const mutual = ['met', 'impersonated'].map(
        (host) =>
          `---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: { name: ${host}, namespace: default }\n` +
          `spec: { host: ${host}, trafficPolicy: { tls: { mode: ISTIO_MUTUAL } } }\n`,
      )
      const shut =
        '---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: met, namespace: default }\n' +
        `spec: { selector: { matchLabels: { app: met } }, action: DENY, rules: [{ from: [{ source: { principals: [cluster.local/ns/default/sa/batch] } }] }] }\n`
      await controlPlane.apply(mutual.join('') + shut)
      const caller = async (account: string) => {
        const { folder } = await member(account)
        const started = new ForeignClient(inmesh(), bootstrap(controlPlane.ports.insecureXds!, folder))
        harness.after(() => started.kill())
        return started
      }
      const [friend, banned] = await Promise.all([caller('frontend'), caller('batch')])
      const answers = async () => (await friend.call({ target: 'xds:///met' })).answers
      await expect.poll(answers, { timeout: 10_000 }).toEqual({ [spiffeId('frontend')]: 1 })
      expect((await friend.call({ target: 'xds:///met', count: 50, concurrent: true })).codes).toEqual({ 0: 50 })
      const codes = async () => (await banned.call({ target: 'xds:///met' })).codes
      await expect.poll(codes, { timeout: 10_000 }).toEqual({ [status.PERMISSION_DENIED]: 1 })
      expect((await friend.call({ target: 'xds:///impersonated' })).codes).toEqual({ [status.UNAVAILABLE]: 1 })
    })

    it('an ALLOW policy without rules lets nobody in', async () => {
      await controlPlane.apply(
        'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: shut, namespace: default }\n' +
          'spec: { selector: { matchLabels: { app: shut } } }',
      )
      const { port } = await server('shut', PERMISSIVE_MTLS)
      await becomes(await client(port, 'frontend'), { code: status.PERMISSION_DENIED })
      await taken()
    })
  })
}
