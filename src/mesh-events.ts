import { EventEmitter } from 'node:events'
import type { Problem } from './errors.ts'

/** What `mesh.on(name, listener)` tells. */
export interface MeshEventMap {
  /** A new configuration is in force. */
  config: [{ sequence: number }]
  /** A resource of the control plane was refused; the last good one stays in force. */
  nack: [{ typeUrl: string; version: string; errors: readonly string[] }]
  /** A resource was accepted with something in it that has no effect, or looks like an accident. */
  warning: [{ typeUrl: string; name: string; message: string }]
  /** A certificate was obtained. `notAfter`: wall clock ms. */
  certificate: [{ spiffeId: string; serialNumber: string; notAfter: number }]
  /** Something is wrong with a changed source of the embedded control plane; after an error the last good one stays. */
  problem: [Problem]
  /** The configuration stream came up or was lost. */
  connected: [{ connected: boolean; reason: string }]
}

export class MeshEvents extends EventEmitter<MeshEventMap> {}
