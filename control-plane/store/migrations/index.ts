import { base } from './001-base.ts'

/** In order; a migration that was released never changes. Each runs once, in a transaction of its own. */
export const sqliteMigrations: readonly string[] = [base]
