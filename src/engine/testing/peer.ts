import { Kind } from '../outcome.ts'
import type { Dice } from './dice.ts'

/** What happens to one attempt, step after step. */
export interface Script {
  readonly steps: readonly Step[]
  /** Reports on after `abort`. */
  readonly stubborn: boolean
}

export type Step = { readonly afterMs: number } & (
  | { readonly what: 'sent' }
  | { readonly what: 'head'; readonly status: number; readonly marks: Marks }
  | { readonly what: 'end'; readonly kind: Kind }
)

/** What an answer says besides its status. */
export interface Marks {
  readonly notStarted?: boolean
  readonly rateLimited?: boolean
  readonly overloaded?: boolean
  readonly spent?: boolean
  /** Seconds. */
  readonly retryAfter?: number
}

export const moods = [
  'ok',
  'slow',
  'hang',
  'queued',
  'status',
  'not-started',
  'rate-limited',
  'overloaded',
  'busy',
  'spent',
  'refuse',
  'refuse-at-once',
  'refuse-stream',
  'local',
  'local-at-once',
  'reset',
  'reset-at-once',
  'reset-unsent',
  'garbage',
  'own-timeout',
  'mid-body',
  'caller-broke',
] as const
export type Mood = (typeof moods)[number]

export const healthy: Script = {
  stubborn: false,
  steps: [
    { afterMs: 0.5, what: 'sent' },
    { afterMs: 2, what: 'head', status: 200, marks: {} },
    { afterMs: 1, what: 'end', kind: Kind.Response },
  ],
}

/** Writes down what a peer in this mood does to one attempt. */
export function scriptOf(mood: Mood, dice: Dice): Script {
  const steps: Step[] = []
  const at = (quickest: number, slowest: number) => (dice.chance(0.1) ? 0 : dice.between(quickest, slowest))
  const sent = () => {
    steps.push({ afterMs: at(0, 5), what: 'sent' })
    // A library that sends again on its own.
    if (dice.chance(0.02)) steps.push({ afterMs: 1, what: 'sent' })
  }
  const head = (afterMs: number, status: number, marks: Marks = {}) => {
    steps.push({ afterMs, what: 'head', status, marks })
  }
  const end = (afterMs: number, kind: Kind) => steps.push({ afterMs, what: 'end', kind })
  switch (mood) {
    case 'ok':
      sent()
      head(at(1, 40), 200)
      end(at(0, 400), Kind.Response)
      break
    case 'slow':
      sent()
      head(dice.between(200, 3_000), 200)
      end(at(0, 1_000), Kind.Response)
      break
    case 'hang':
      sent()
      break
    case 'queued':
      break
    case 'status':
      sent()
      head(at(1, 40), dice.oneOf([500, 502, 503, 503, 504, 404, 409, 429, 101]))
      end(at(0, 20), Kind.Response)
      break
    case 'not-started':
      sent()
      head(at(1, 10), 503, { notStarted: true })
      end(at(0, 10), Kind.Response)
      break
    case 'rate-limited':
      sent()
      head(at(1, 10), dice.oneOf([429, 503]), { rateLimited: true })
      end(at(0, 10), Kind.Response)
      break
    case 'overloaded':
      sent()
      head(at(1, 10), 503, { overloaded: true })
      end(at(0, 10), Kind.Response)
      break
    case 'busy':
      sent()
      head(at(1, 10), dice.oneOf([429, 503]), { retryAfter: dice.oneOf([0, 1, 2, 400]) })
      end(at(0, 10), Kind.Response)
      break
    case 'spent':
      sent()
      head(at(1, 10), 503, { spent: true })
      end(at(0, 10), Kind.Response)
      break
    case 'refuse':
      end(dice.between(0.1, 1_000), Kind.ConnectFailure)
      break
    case 'refuse-at-once':
      end(0, Kind.ConnectFailure)
      break
    case 'refuse-stream':
      sent()
      end(at(0, 20), Kind.Refused)
      break
    case 'local':
      end(dice.between(0, 20), Kind.Local)
      break
    case 'local-at-once':
      end(0, Kind.Local)
      break
    case 'reset':
      sent()
      end(at(0, 500), Kind.Reset)
      break
    case 'reset-at-once':
      steps.push({ afterMs: 0, what: 'sent' })
      end(0, Kind.Reset)
      break
    case 'reset-unsent':
      end(at(0, 50), Kind.Reset)
      break
    case 'garbage':
      sent()
      end(at(0, 50), Kind.ProtocolError)
      break
    case 'own-timeout':
      sent()
      end(dice.between(50, 800), Kind.TryTimeout)
      break
    case 'mid-body':
      sent()
      head(at(1, 40), 200)
      end(at(1, 400), dice.oneOf([Kind.Reset, Kind.ProtocolError, Kind.TryTimeout]))
      break
    case 'caller-broke':
      sent()
      end(at(0, 50), Kind.Cancelled)
      break
  }
  if (steps.at(-1)?.what === 'end') {
    if (dice.chance(0.05)) end(at(0, 20), dice.oneOf([Kind.Reset, Kind.Response, Kind.ConnectFailure]))
    if (dice.chance(0.03)) head(at(0, 20), 200)
  }
  return { steps, stubborn: dice.chance(0.1) }
}
