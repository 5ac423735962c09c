import { base } from './001-base.ts'
import { endpointProtocol } from './002-endpoint-protocol.ts'

/** In order; a migration that was released never changes. Each runs once, in a transaction of its own. */
export const sqliteMigrations: readonly string[] = [base, endpointProtocol]
