import { parseArgs } from 'node:util'
import { DemoError } from './demo-error.ts'

export interface Flags {
  /** Exit with 0 or 1 after the table. */
  check: boolean
  /** Frontend's port; 0 = a free one. */
  port: number
  /** Numbers of the steps to walk; undefined = all. */
  only: number[] | undefined
}

/** @throws DemoError that says how it is used */
export function readFlags(args: string[]): Flags {
  const options = { check: { type: 'boolean' }, port: { type: 'string' }, only: { type: 'string' } } as const
  try {
    const { values } = parseArgs({ args, options })
    const { check = false, port = check ? '0' : '8080', only } = values
    if (!/^[0-9]{1,5}$/.test(port) || Number(port) > 65_535) throw new Error(`--port ${port} is no port`)
    if (only !== undefined && !/^[0-9]+(,[0-9]+)*$/.test(only)) throw new Error(`--only ${only} is no list like 2,3`)
    return { check, port: Number(port), only: only?.split(',').map(Number) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new DemoError(`${why}\nusage: npm run demo -- [--check] [--port N] [--only 4,6]`)
  }
}
