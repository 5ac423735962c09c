import { readFile } from 'node:fs/promises'
import { connect, createSecureContext } from 'node:tls'
import { InmeshError } from '../errors.ts'
import { MESH_SERVER_NAME } from './identity-state.ts'
import { type JoinToken, sha256Hex } from './join-token.ts'
import { trustAnchors, trustAnchorsFromPem } from './trust-bundle.ts'
import { rawChain } from './verify.ts'

export interface BootstrapOptions {
  /** "host:port" of the control plane. */
  readonly address: string
  /** PEM file with the mesh's roots; wins over the token. */
  readonly trustBundleFile: string | null
  /** Says by its hash which root to believe. */
  readonly token: JoinToken | null
  /** Whole time to connect and shake hands, ms; default 5,000. */
  readonly timeoutMs?: number
}

/**
 * The first trust of a process that has no identity yet: the roots of a file, or the root that the control plane presents,
 * if and only if its SHA-256 is the one in the join token. Nothing is sent over the connection that reads the root.
 *
 * @throws InmeshError ERR_INMESH_IDENTITY when there is neither file nor token, or the root is not the expected one;
 *   ERR_INMESH_CONTROL_PLANE when the control plane cannot be reached
 */
export async function bootstrapTrust(options: BootstrapOptions): Promise<readonly Uint8Array[]> {
  const { address, trustBundleFile, token } = options
  if (trustBundleFile !== null) {
    let pem: string
    try {
      pem = await readFile(trustBundleFile, 'utf8')
    } catch (cause) {
      throw new InmeshError('ERR_INMESH_IDENTITY', `cannot read the trust bundle ${trustBundleFile}`, { cause })
    }
    return trustAnchorsFromPem(pem, trustBundleFile)
  }
  if (token === null) {
    throw new InmeshError(
      'ERR_INMESH_IDENTITY',
      'no certificate on disk and nothing to get one with: set INMESH_TOKEN (see "inmesh token create") or INMESH_TRUST_BUNDLE',
    )
  }
  const chain = await presentedChain(address, options.timeoutMs ?? 5_000)
  const root = chain.find((der) => sha256Hex(der) === token.rootSha256)
  if (root === undefined) {
    throw new InmeshError(
      'ERR_INMESH_IDENTITY',
      `the control plane at ${address} does not present the root that the join token names: another mesh, or somebody in between`,
    )
  }
  return trustAnchors([root], `root presented by ${address}`)
}

/**
 * The certificates that a TLS server presents. The handshake is made with no trusted root at all, so it always ends in a
 * refusal; the chain is looked at just before that, and no byte of ours goes out but the handshake.
 */
async function presentedChain(address: string, timeoutMs: number): Promise<Uint8Array[]> {
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[|\]$/g, '')
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array[]>()
  const socket = connect({
    host,
    port: Number(address.slice(colon + 1)),
    servername: MESH_SERVER_NAME,
    ALPNProtocols: ['h2'],
    rejectUnauthorized: true,
    secureContext: createSecureContext({ ca: [], minVersion: 'TLSv1.3' }),
  })
  const unreachable = (cause: unknown) =>
    reject(new InmeshError('ERR_INMESH_CONTROL_PLANE', `cannot reach the control plane at ${address}`, { cause }))
  const timer = setTimeout(() => {
    unreachable(new Error(`no TLS handshake within ${timeoutMs} ms`))
    socket.destroy()
  }, timeoutMs)
  // 'secure' comes when the handshake is done, just before Node acts on the verdict and ends the connection. (To end it
  // here would pull the rug from under Node's own listener, which throws then.)
  socket.prependListener('secure', () => resolve(rawChain(socket.getPeerCertificate(true))))
  socket.on('error', unreachable)
  socket.on('close', () => unreachable(new Error('connection closed')))
  try {
    return await promise
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}
