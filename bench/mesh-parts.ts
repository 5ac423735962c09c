import { createPrivateKey } from 'node:crypto'
import { Engine } from '../src/engine/engine.ts'
import { systemRandom } from '../src/engine/random.ts'
import { IdentityState } from '../src/identity/identity-state.ts'
import { certificatesFromPem } from '../src/identity/trust-bundle.ts'
import { workloadIdentity } from '../src/identity/workload-identity.ts'
import { systemClock } from '../src/model/clock.ts'
import type { Snapshot } from '../src/model/snapshot.ts'
import { createTelemetry } from '../src/telemetry/telemetry.ts'
import type { Credentials } from './protocol.ts'

/** An engine with metrics and traces, as `createMesh` makes it. */
export function meshEngine(snapshot: Snapshot): Engine {
  const telemetry = createTelemetry({
    workload: {
      service: 'orders',
      namespace: 'default',
      serviceAccount: 'orders',
      trustDomain: 'cluster.local',
      labels: { app: 'orders' },
      locality: '',
      instanceId: 'bench',
    },
    clock: systemClock,
    sources: {},
  })
  const engine = new Engine({ clock: systemClock, random: systemRandom, events: telemetry.events })
  engine.apply(snapshot)
  return engine
}

export function identityOf(credentials: Credentials, trustDomain: string): IdentityState {
  const identity = new IdentityState({ trustDomain })
  identity.updateBundles(new Map([[trustDomain, certificatesFromPem(credentials.root)]]))
  identity.update(workloadIdentity(certificatesFromPem(credentials.cert), createPrivateKey(credentials.key)))
  return identity
}
