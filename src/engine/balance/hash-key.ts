import type { HostRuntime } from '../host.ts'

/** What consistent hashing knows a host by: "address:port", as Envoy prints it, or its name. */
export function hashKey(host: HostRuntime, useHostname: boolean): string {
  const { address, port, hostname } = host.spec
  if (useHostname && hostname !== undefined && hostname !== '') return hostname
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}
