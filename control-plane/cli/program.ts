import { Command, CommanderError } from 'commander'
import { analyzeCommand } from './analyze.ts'
import { applyCommand } from './apply.ts'
import { controlPlaneCommand } from './control-plane.ts'
import { deleteCommand } from './delete.ts'
import { explainCommand } from './explain.ts'
import { explain, Failure } from './failure.ts'
import { getCommand } from './get.ts'
import { loadsCommand } from './loads.ts'
import { replayCommand } from './replay.ts'
import { rolloutCommand } from './rollout.ts'
import { schemaCommand } from './schema.ts'
import { statusCommand } from './status.ts'
import { tokenCommand } from './token.ts'
import { packageVersion, versionCommand } from './version.ts'

/**
 * The `inmesh` command. Returns the exit code: 0 done, 1 refused or failed (one clear line on stderr), 2 wrong usage.
 * INMESH_DEBUG=1 adds the stack.
 */
export async function run(argv: readonly string[]): Promise<number> {
  const program = new Command('inmesh')
    .description('the service mesh inside your Node processes')
    .version(packageVersion())
  for (const command of [
    controlPlaneCommand(),
    applyCommand(),
    getCommand(),
    analyzeCommand(),
    explainCommand(),
    replayCommand(),
    rolloutCommand(),
    deleteCommand(),
    tokenCommand(),
    schemaCommand(),
    statusCommand(),
    loadsCommand(),
    versionCommand(),
  ])
    program.addCommand(command)
  neverExit(program)
  try {
    await program.parseAsync(argv)
    return 0
  } catch (error) {
    // Commander has said what is wrong with the usage; help and version are no errors.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const text = explain(error)
    // Findings about files stand as they are, so that editors find file and line.
    process.stderr.write(text.includes('\n') ? `${text}\n` : `inmesh: ${text}\n`)
    if (process.env.INMESH_DEBUG === '1') console.error(error)
    return error instanceof Failure ? error.exitCode : 1
  }
}

function neverExit(command: Command): void {
  command.exitOverride()
  for (const child of command.commands) neverExit(child)
}
