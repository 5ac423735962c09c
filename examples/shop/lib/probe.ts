import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { connect } from 'node:tls'
import type { Shop } from './shop.ts'

/** A plaintext GET straight at a port. @returns the status, or the code of the error that came instead */
export function plaintextGet(port: number, path: string): Promise<number | string> {
  return new Promise((resolve) => {
    const req = request({ host: '127.0.0.1', port, path, agent: false, timeout: 2_000 }, (res) => {
      res.resume()
      resolve(res.statusCode ?? 0)
    })
    req.on('timeout', () => req.destroy(new Error('timeout')))
    req.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
    req.end()
  })
}

/** What a server shows to whoever knocks: its certificate, checked against the mesh's root. */
export function serverCertificate(shop: Shop, port: number): Promise<{ spiffeId: string; serialNumber: string }> {
  const ca = readFileSync(join(shop.controlPlane.settings.dataDir, 'ca/root.crt'))
  return new Promise((resolve, reject) => {
    // Identities are SPIFFE ids: there is no host name to check, and what is seen is only printed.
    const socket = connect({ host: '127.0.0.1', port, ca, servername: 'inmesh', checkServerIdentity: () => undefined })
    socket.once('secureConnect', () => {
      const certificate = new X509Certificate(socket.getPeerX509Certificate()?.raw ?? Buffer.alloc(0))
      resolve({
        spiffeId: (certificate.subjectAltName ?? '').replace('URI:', ''),
        serialNumber: certificate.serialNumber.toLowerCase(),
      })
      socket.destroy()
    })
    socket.once('error', reject)
  })
}
