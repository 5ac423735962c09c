import { Engine } from '../../src/engine/engine.ts'
import { explain } from '../../src/engine/explain/explain.ts'
import type { ExplainRequest, Explanation } from '../../src/engine/explain/explanation.ts'
import { systemRandom } from '../../src/engine/random.ts'
import { systemClock } from '../../src/model/clock.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import type { ClientView, Translation } from '../translate/types.ts'
import { clientSnapshot } from './client-snapshot.ts'

/** Whose request it would be. */
export interface AskedClient {
  readonly service?: string | undefined
  /** Default "default". */
  readonly namespace?: string | undefined
  readonly labels?: Readonly<Record<string, string>> | undefined
  /** "region/zone/subzone". */
  readonly locality?: string | undefined
}

/** A workload of that name, as its certificate would show it. */
export function viewOf({ service = '', namespace = 'default', labels = {}, locality = '' }: AskedClient): ClientView {
  return {
    clientClass: 'inmesh',
    namespace,
    serviceAccount: service === '' ? 'default' : service,
    service,
    labels: service === '' ? labels : { ...labels, app: service },
    locality,
  }
}

/**
 * What would become of a request of such a client: the resources that it would be sent, read by its decoders, compiled by its
 * engine. State that only a live process has (ejections, open breakers) is not in it.
 * @throws TypeError when `request.url` is not an absolute URL
 */
export function explainFor(translation: Translation, client: AskedClient, request: ExplainRequest): Explanation {
  const authority = new URL(request.url).host
  const { snapshot, problems } = clientSnapshot(translation, viewOf(client), { authorities: [authority] })
  const explanation = withEngine(snapshot, (engine) => explain(engine, request))
  return { ...explanation, notes: [...explanation.notes, ...problems] }
}

/** An engine with this configuration for as long as `use` runs. */
export function withEngine<T>(snapshot: Snapshot, use: (engine: Engine) => T): T {
  const engine = new Engine({ clock: systemClock, random: systemRandom, events: null })
  try {
    engine.apply(snapshot)
    return use(engine)
  } finally {
    engine.close()
  }
}
