import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname } from 'node:path'
import { InmeshError } from '../../src/errors.ts'
import { sqliteMigrations } from './migrations/index.ts'
import { type Database, nodeSqlite } from './node-sqlite.ts'
import { CursorExpired } from './store.ts'

/**
 * Opens (or creates, readable by the owner only) a database in which a commit that returned survives a crash and a
 * power cut: WAL, synchronous=FULL. Writers of other processes are waited for up to 5 s.
 */
export function openDatabase(path: string): Database {
  return guarded(`cannot open the store ${path}`, () => {
    if (path !== ':memory:') {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      closeSync(openSync(path, 'a', 0o600))
    }
    const database = new (nodeSqlite().DatabaseSync)(path, { timeout: 5_000, enableForeignKeyConstraints: true })
    try {
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;')
      migrate(database, path)
    } catch (error) {
      database.close()
      throw error
    }
    return database
  })
}

function migrate(database: Database, path: string): void {
  const version = () => Number(database.prepare('PRAGMA user_version').get()?.user_version)
  if (version() === sqliteMigrations.length) return
  transaction(database, () => {
    const from = version()
    if (from > sqliteMigrations.length)
      throw new InmeshError(
        'ERR_INMESH_STORE',
        `the store ${path} has schema ${from}; this version of inmesh knows up to ${sqliteMigrations.length}: use the newer inmesh that wrote it`,
      )
    for (const sql of sqliteMigrations.slice(from)) database.exec(sql)
    database.exec(`PRAGMA user_version = ${sqliteMigrations.length}`)
  })
}

/**
 * Runs `work` with the write lock held from the start, so that what it reads cannot change until it has written.
 * 'ROLLBACK' undoes all that it wrote and keeps what it returned.
 */
export function transaction<T>(database: Database, work: () => T, end: 'COMMIT' | 'ROLLBACK' = 'COMMIT'): T {
  return within(database, 'BEGIN IMMEDIATE', work, end)
}

/** Runs `work` on one state of the database. */
export function readTransaction<T>(database: Database, work: () => T): T {
  return within(database, 'BEGIN', work, 'COMMIT')
}

function within<T>(database: Database, begin: string, work: () => T, end: 'COMMIT' | 'ROLLBACK'): T {
  database.exec(begin)
  try {
    const result = work()
    database.exec(end)
    return result
  } catch (error) {
    // A full disk or an I/O error may have rolled back already.
    if (database.isTransaction) database.exec('ROLLBACK')
    throw error
  }
}

/** What SQLite and the disk say becomes an InmeshError that names what was being done. */
export function guarded<T>(doing: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    if (error instanceof InmeshError || error instanceof CursorExpired) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new InmeshError('ERR_INMESH_STORE', `${doing}: ${reason}`, { cause: error })
  }
}
