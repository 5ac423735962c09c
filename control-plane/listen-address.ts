import { InmeshError } from '../src/errors.ts'

/**
 * Reads "host:port", "[::1]:port" or ":port" (all addresses); port 0 = any free one.
 * @throws InmeshError ERR_INMESH_INVALID_OPTION naming `option`
 */
export function parseAddress(option: string, text: string): { host: string; port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:/\s]*)):([0-9]{1,5})$/.exec(text)
  const port = Number(match?.[3])
  if (match === null || port > 65_535)
    throw new InmeshError('ERR_INMESH_INVALID_OPTION', `${option} is "${text}": expected "host:port"`)
  return { host: match[1] ?? (match[2] || '0.0.0.0'), port }
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
