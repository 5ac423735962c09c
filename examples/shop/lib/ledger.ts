import { appendFileSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** Every charge that was executed, on disk before it is answered: what kill -9 leaves behind can still be counted. */
export function chargeOnce(directory: string, instance: string, id: string): void {
  appendFileSync(join(directory, instance), `${id}\n`)
}

export function openLedger(directory: string): void {
  mkdirSync(directory, { recursive: true })
}

/** How many times each id was charged, over all instances, living and dead. */
export function readLedger(directory: string): Map<string, number> {
  const charged = new Map<string, number>()
  for (const file of readdirSync(directory)) {
    for (const id of readFileSync(join(directory, file), 'utf8').split('\n'))
      if (id !== '') charged.set(id, (charged.get(id) ?? 0) + 1)
  }
  return charged
}
