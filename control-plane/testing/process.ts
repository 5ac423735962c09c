import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

const main = join(import.meta.dirname, '../cli/main.ts')

export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

type Env = Readonly<Record<string, string | undefined>>

/** Runs `inmesh` with these arguments to its end. `readNothing`: its stdout is closed at once. */
export async function inmesh(
  args: readonly string[],
  options: { env?: Env; stdin?: string; readNothing?: boolean } = {},
): Promise<Finished> {
  const child = start(args, options.env)
  const output = collect(child)
  if (options.readNothing === true) child.stdout!.destroy()
  child.stdin!.end(options.stdin ?? '')
  const [code] = await once(child, 'close')
  return { code, ...output }
}

export interface ControlPlaneProcess {
  readonly child: ChildProcess
  readonly adminUrl: string
  readonly insecureXdsPort: number | undefined
  readonly output: { stdout: string; stderr: string }
  /** Sends the signal and waits for the end; the exit code, or null when the signal ended it. */
  stop(signal: NodeJS.Signals): Promise<number | null>
}

/** Starts `inmesh control-plane` on free ports and waits until it serves. */
export async function controlPlaneProcess(dataDir: string, args: readonly string[] = []): Promise<ControlPlaneProcess> {
  const ports = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0']
  const child = start(['control-plane', '--data-dir', dataDir, ...ports, ...args])
  const output = collect(child)
  const closed = once(child, 'close')
  let adminUrl: string | undefined
  while (adminUrl === undefined) {
    const ended = await Promise.race([closed, once(child.stdout!, 'data').then(() => undefined)])
    if (ended !== undefined) throw new Error(`control plane ended with ${ended[0]}: ${output.stderr}`)
    adminUrl = /admin API on (\S+)/.exec(output.stdout)?.[1]
  }
  const insecure = /without TLS.* on port (\d+)/.exec(output.stdout)?.[1]
  return {
    child,
    adminUrl,
    insecureXdsPort: insecure === undefined ? undefined : Number(insecure),
    output,
    stop: async (signal) => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal)
      const [code] = await closed
      return code
    },
  }
}

function start(args: readonly string[], env: Env = {}): ChildProcess {
  const clean: NodeJS.ProcessEnv = {
    ...process.env,
    NO_COLOR: '1',
    INMESH_ADMIN_URL: undefined,
    INMESH_ADMIN_TOKEN: undefined,
    ...env,
  }
  for (const [name, value] of Object.entries(clean)) if (value === undefined) delete clean[name]
  return spawn(process.execPath, [main, ...args], { env: clean, stdio: 'pipe' })
}

function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text: string) => {
      output[name] += text
    })
  }
  return output
}
