import type { DatabaseSync } from 'node:sqlite'

type NodeSqlite = typeof import('node:sqlite')

let loaded: NodeSqlite | undefined

/**
 * node:sqlite, without the ExperimentalWarning that Node 22 prints when the module is first loaded (Node 24 does not).
 * All other warnings pass.
 */
export function nodeSqlite(): NodeSqlite {
  if (loaded !== undefined) return loaded
  const emitWarning = process.emitWarning
  process.emitWarning = ((warning: string | Error, ...rest: unknown[]) => {
    const text = typeof warning === 'string' ? warning : warning.message
    if (text.startsWith('SQLite is an experimental feature')) return
    Reflect.apply(emitWarning, process, [warning, ...rest])
  }) as typeof process.emitWarning
  try {
    loaded = process.getBuiltinModule('node:sqlite')
  } finally {
    process.emitWarning = emitWarning
  }
  return loaded
}

export type Database = DatabaseSync
