import { readFileSync } from 'node:fs'

/** Version of the package. package.json lies one folder above this file, and one above `dist/` in the bundle too. */
export const version: string = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
