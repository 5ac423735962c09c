import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Command } from 'commander'

/** `inmesh version`. */
export function versionCommand(): Command {
  return new Command('version').description('print the version').action(() => {
    process.stdout.write(`inmesh ${packageVersion()} (Node ${process.versions.node})\n`)
  })
}

/** Of the package that this file, in source or bundled, belongs to. */
export function packageVersion(): string {
  for (let dir = import.meta.dirname; dir !== dirname(dir); dir = dirname(dir)) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as Record<string, unknown>
      if (name === 'inmesh' && typeof version === 'string') return version
    } catch {
      // No package.json here: look one folder up.
    }
  }
  return 'unknown'
}
