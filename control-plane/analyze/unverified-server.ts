import type { Analyzer } from './analyzer.ts'
import { tlsBlocks } from './tls-blocks.ts'

/** Istio's proxies did not verify such servers at all; here the roots of the caller's system vouch for them. */
export const unverifiedServer: Analyzer = {
  codes: {
    IST0128: 'TLS to a host without caCertificates: public roots vouch for it',
    IST0129: 'the same, in the settings of one port',
  },
  checks: {
    DestinationRule({ spec, report }) {
      for (const { tls, mode, path, isForPort } of tlsBlocks(spec)) {
        if ((mode !== 'SIMPLE' && mode !== 'MUTUAL') || tls.caCertificates !== undefined) continue
        // That no certificate is looked at is told anyway.
        if (tls.insecureSkipVerify) continue
        const message = "has no caCertificates: any root that the caller's system knows may vouch for the server"
        report('warning', isForPort ? 'IST0129' : 'IST0128', path, message)
      }
    },
  },
}
