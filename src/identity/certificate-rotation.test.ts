import { createPrivateKey } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { createTestCa, type TestLeafOptions } from '../../test/support/test-ca.ts'
import { InmeshError } from '../errors.ts'
import { type Logger, silentLogger } from '../model/logger.ts'
import { CertificateRotation, type RotationOptions } from './certificate-rotation.ts'
import { isFailure } from './identity-failure.ts'
import { identityFilePath, readIdentityFile, writeIdentityFile } from './identity-file.ts'
import { IdentityState } from './identity-state.ts'
import { newJoinToken } from './join-token.ts'
import { RefusedError } from './refused-error.ts'
import type { CertificateSource, IssuedIdentity } from './sources/source.ts'
import { parseSpiffeId, type SpiffeId } from './spiffe-id.ts'
import { workloadIdentity } from './workload-identity.ts'

const ca = createTestCa('cluster.local')
const ORDERS = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/orders') as SpiffeId

function issued(options?: TestLeafOptions, id = ORDERS.text): IssuedIdentity {
  const leaf = ca.issue(id, options)
  return { identity: workloadIdentity([leaf.certDer], createPrivateKey(leaf.keyPem), Date.now()), bundles: ca.bundles }
}

/** Answers in turn; the last answer is repeated. */
function source(...answers: (() => IssuedIdentity)[]): CertificateSource & { calls: number } {
  return {
    calls: 0,
    async obtain() {
      return answers[Math.min(this.calls++, answers.length - 1)]!()
    },
  }
}

const refuse = () => {
  throw new RefusedError('token was used before')
}
const away = () => {
  throw new InmeshError('ERR_INMESH_CONTROL_PLANE', 'away')
}

const closers: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closers.splice(0)) await close()
})

async function stateFile(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'inmesh-rotation-'))
  closers.push(() => rm(directory, { recursive: true }))
  return identityFilePath(directory)
}

function rotation(options: Partial<RotationOptions> & Pick<RotationOptions, 'source'>) {
  const state = new IdentityState({ trustDomain: 'cluster.local' })
  const made = new CertificateRotation({
    state,
    file: null,
    spiffeId: ORDERS,
    token: null,
    logger: silentLogger,
    random: { u32: () => 0 },
    ...options,
  })
  closers.push(() => made.close())
  return { state, rotation: made }
}

/** Resolves when the state takes another certificate. */
function nextIdentity(state: IdentityState): Promise<void> {
  return new Promise((resolve) => {
    const stop = state.onChange(({ what }) => {
      if (what !== 'identity') return
      stop()
      resolve()
    })
  })
}

describe('certificate rotation', () => {
  it('gets a first certificate, saves it, and a restart takes it from there without asking', async () => {
    const file = await stateFile()
    const first = rotation({ source: source(() => issued()), file })
    await first.rotation.start()
    const again = rotation({ source: source(away), file })
    await again.rotation.start()
    expect(again.state.current?.serialNumber).toBe(first.state.current?.serialNumber)
    expect(again.state.bundles).toEqual(ca.bundles)
  })

  it('renews a short-lived certificate again and again', async () => {
    const from = source(() => issued({ notAfter: 2_000 }))
    const { state, rotation: running } = rotation({ source: from, file: await stateFile() })
    await running.start()
    const serials = new Set([state.current?.serialNumber])
    for (let i = 0; i < 2; i++) {
      await nextIdentity(state)
      serials.add(state.current?.serialNumber)
    }
    expect(serials.size).toBe(3)
  })

  it('keeps the certificate it has while renewals fail', async () => {
    const warnings: string[] = []
    const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) }
    const from = source(
      () => issued({ notAfter: 3_000 }),
      away,
      refuse,
      () => issued(),
    )
    const { state, rotation: running } = rotation({ source: from, logger })
    await running.start()
    const serial = state.current?.serialNumber
    await nextIdentity(state)
    expect(from.calls).toBe(4)
    expect(state.current?.serialNumber).not.toBe(serial)
    expect(running.lastFailure).toBeUndefined()
  })

  it('goes on trying while the control plane is away at start', async () => {
    const from = source(away, away, () => issued())
    const { state, rotation: starting } = rotation({ source: from })
    await starting.start()
    expect(from.calls).toBe(3)
    expect(state.current).toBeDefined()
  })

  it('gives up when the authority refuses and there is nothing else', async () => {
    const { rotation: starting } = rotation({ source: source(refuse) })
    await expect(starting.start()).rejects.toBeInstanceOf(RefusedError)
    expect(starting.lastFailure).toBeInstanceOf(RefusedError)
  })

  it('a sibling that used the shared token up shares its certificate, too', async () => {
    const file = await stateFile()
    const late = source(() => {
      setTimeout(() => void writeIdentityFile(file, issued()), 150)
      return refuse()
    })
    const { state, rotation: starting } = rotation({ source: late, file })
    await starting.start()
    expect(state.current?.spiffeId.text).toBe(ORDERS.text)
  })

  it('takes a renewal that a sibling made instead of asking for another', async () => {
    const file = await stateFile()
    const from = source(() => issued({ notAfter: 6_000 }))
    const { state, rotation: running } = rotation({ source: from, file })
    await running.start()
    const sibling = issued({ notAfter: 60_000 })
    await writeIdentityFile(file, sibling)
    await nextIdentity(state)
    expect(state.current?.serialNumber).toBe(sibling.identity.serialNumber)
    expect(from.calls).toBe(1)
  })

  it('does not use a file that is damaged, expired, of another workload or of another mesh', async () => {
    const bad: [string, (file: string) => Promise<void>][] = [
      ['damaged', (file) => writeFile(file, 'inmesh-identity 1 00\n{}', { mode: 0o600 })],
      ['expired', (file) => writeIdentityFile(file, issued({ notBefore: -9_000, notAfter: -1_000 }))],
      ['other', (file) => writeIdentityFile(file, issued({}, 'spiffe://cluster.local/ns/shop/sa/payments'))],
      ['other mesh', (file) => writeIdentityFile(file, issued())],
    ]
    for (const [what, write] of bad) {
      const file = await stateFile()
      await write(file)
      const token = what === 'other mesh' ? newJoinToken(createTestCa('cluster.local').rootDer) : null
      const from = source(() => issued())
      const { state, rotation: starting } = rotation({ source: from, file, token })
      await starting.start()
      expect(from.calls, what).toBe(1)
      const read = await readIdentityFile(file, silentLogger)
      if (read === undefined || isFailure(read)) throw new Error(what)
      expect(read.identity.serialNumber).toBe(state.current?.serialNumber)
    }
  })

  it('runs without a writable state directory, with a warning', async () => {
    const warnings: string[] = []
    const logger: Logger = { ...silentLogger, warn: (message) => warnings.push(message) }
    const blocked = await stateFile()
    await writeFile(blocked, '')
    const { state, rotation: starting } = rotation({
      source: source(() => issued()),
      file: join(blocked, 'identity'),
      logger,
    })
    await starting.start()
    expect(state.current).toBeDefined()
    expect(warnings.join()).toContain('could not be saved')
    expect(await readFile(blocked, 'utf8')).toBe('')
  })

  it('closes at any time', async () => {
    const { rotation: starting } = rotation({ source: source(away) })
    const start = starting.start()
    await starting.close()
    await expect(start).rejects.toMatchObject({ code: 'ERR_INMESH_CLOSED' })
    const { state, rotation: running } = rotation({ source: source(() => issued()) })
    await running.start()
    await running.close()
    expect(state.current).toBeDefined()
  })
})
