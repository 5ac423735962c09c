import { isIP } from 'node:net'
import * as z from 'zod'
import type { Report } from './kind.ts'

const pem = /-----BEGIN [A-Z0-9 ]+-----/

/** A PEM text, or the path of a file that the calling process reads. */
const pemOrPath = z
  .string()
  .min(1)
  .refine((text) => pem.test(text) || text.startsWith('/'), 'must be PEM or an absolute path')

/** Istio's ClientTLSSettings: how this host's endpoints are spoken to. */
export const clientTls = z.strictObject({
  mode: z
    .enum(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'])
    .optional()
    .describe(
      "`tls: {}` means DISABLE, plaintext (Istio's enum 0). ISTIO_MUTUAL = the mesh's mutual TLS; SIMPLE and MUTUAL = TLS to a service outside of it.",
    ),
  clientCertificate: pemOrPath
    .optional()
    .describe('MUTUAL: chain that the caller shows; PEM, or a path on its machine.'),
  privateKey: z
    .string()
    .regex(/^\//, 'must be an absolute path: private keys do not belong into configuration')
    .optional()
    .describe('MUTUAL: path of the key on the machine of the caller.'),
  caCertificates: pemOrPath
    .optional()
    .describe(
      'Roots that vouch for the server; PEM, or a path on the machine of the caller. Default: those of its system.',
    ),
  subjectAltNames: z
    .array(z.string().min(1))
    .default([])
    .describe('The certificate must name one of them. Default: the SNI.'),
  sni: z
    .string()
    .max(255)
    .regex(/^[A-Za-z0-9._-]*$/, 'is not a host name')
    .optional()
    .describe('Server name in the handshake. Default: the host that is called.'),
  insecureSkipVerify: z.boolean().default(false).describe('Take any certificate. For tests only.'),
})

export type ClientTls = z.output<typeof clientTls>

export function tlsMode(tls: ClientTls): NonNullable<ClientTls['mode']> {
  return tls.mode ?? 'DISABLE'
}

export function isPem(text: string): boolean {
  return pem.test(text)
}

/** What Istio refuses in it; nothing that would weaken TLS silently. */
export function checkClientTls(tls: ClientTls, path: readonly (string | number)[], report: Report): void {
  const mode = tlsMode(tls)
  if (tls.mode === undefined)
    report('warning', [...path], 'has no mode, which means DISABLE: calls are sent as plaintext')
  const set = (field: keyof ClientTls) =>
    Array.isArray(tls[field]) ? tls[field].length > 0 : tls[field] !== undefined && tls[field] !== false
  const forbid = (fields: readonly (keyof ClientTls)[], severity: 'error' | 'warning') => {
    for (const field of fields) if (set(field)) report(severity, [...path, field], `has no place in mode ${mode}`)
  }
  const own = ['clientCertificate', 'privateKey'] as const
  if (mode === 'DISABLE') forbid([...own, 'caCertificates', 'subjectAltNames', 'sni', 'insecureSkipVerify'], 'warning')
  if (mode === 'ISTIO_MUTUAL') {
    forbid([...own, 'caCertificates', 'insecureSkipVerify'], 'error')
    forbid(['sni'], 'warning')
    tls.subjectAltNames.forEach((name, index) => {
      if (!name.startsWith('spiffe://'))
        report(
          'error',
          [...path, 'subjectAltNames', index],
          'must be a SPIFFE id: certificates of the mesh have no other names',
        )
    })
  }
  if (mode === 'SIMPLE') forbid(own, 'error')
  if (mode === 'MUTUAL')
    for (const field of own) if (!set(field)) report('error', [...path, field], 'is required in mode MUTUAL')
  if (tls.insecureSkipVerify) {
    if (set('caCertificates') || set('subjectAltNames'))
      report('error', [...path, 'insecureSkipVerify'], 'cannot stand beside caCertificates or subjectAltNames')
    else if (mode === 'SIMPLE' || mode === 'MUTUAL')
      report(
        'warning',
        [...path, 'insecureSkipVerify'],
        'any server is believed: anybody on the way can read and change calls',
      )
  }
  if (tls.sni !== undefined && isIP(tls.sni) !== 0)
    report('error', [...path, 'sni'], 'must be a name, not an address (RFC 6066)')
}
