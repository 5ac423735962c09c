/** A certificate, its key and the roots of others, in files that somebody else renews. */
export interface CertificateFiles {
  /** PEM; null = only roots. */
  readonly certificate: { readonly chain: string; readonly key: string } | null
  /** null = none. 'ca': PEM, good for whoever they signed. 'spiffe': a map of bundles by trust domain (gRFC A87). */
  readonly roots: { readonly kind: 'ca' | 'spiffe'; readonly path: string } | null
  /** How often they are read again, ms. */
  readonly refreshMs: number
}
