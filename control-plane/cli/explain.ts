import { Command, InvalidArgumentError, Option } from 'commander'
import { type Explanation, formatExplanation } from '../explain/format.ts'
import { AdminClient, type ConnectionFlags, withConnection } from './admin-client.ts'
import { Failure } from './failure.ts'

interface Flags extends ConnectionFlags {
  readonly request: string
  readonly header: string[]
  readonly client?: string
  readonly namespace?: string
  readonly label: string[]
  readonly locality?: string
  readonly admin?: string
  readonly output: 'text' | 'json'
}

/** `inmesh explain URL`: what becomes of a request, in a live process or for a client of the control plane. */
export function explainCommand(): Command {
  return withConnection(new Command('explain'))
    .description('which rule a request matches and why others do not, where it goes, which policies apply')
    .argument('<url>', 'such as http://payments/charge', absoluteUrl)
    .option('-X, --request <method>', 'method', 'GET')
    .option('-H, --header <line>', '"name: value"; may be given several times', collect, [])
    .option('--client <service>', 'who asks; without it, a workload of no service')
    .option('-n, --namespace <name>', 'of the client; default "default"')
    .option('-l, --label <key=value>', 'of the client; may be given several times', collect, [])
    .option('--locality <region/zone/subzone>', 'of the client')
    .option('--admin <host:port>', 'ask the live process with this admin port, with its state')
    .addOption(new Option('-o, --output <format>').choices(['text', 'json']).default('text'))
    .action(async (url: string, flags: Flags) => {
      const explanation = flags.admin === undefined ? await ofControlPlane(url, flags) : await ofProcess(url, flags)
      const json = flags.output === 'json'
      process.stdout.write(`${json ? JSON.stringify(explanation, null, 2) : formatExplanation(explanation)}\n`)
    })
}

function ofControlPlane(url: string, flags: Flags): Promise<Explanation> {
  const { client: service, namespace, locality } = flags
  const labels = pairs('--label', flags.label, '=')
  const body = {
    request: { url, method: flags.request, headers: pairs('--header', flags.header, ':') },
    client: { service, namespace, labels, locality },
  }
  return new AdminClient(flags).json('/v1/explain', {
    method: 'POST',
    body: JSON.stringify(body),
    headers: { 'content-type': 'application/json' },
  })
}

async function ofProcess(url: string, flags: Flags): Promise<Explanation> {
  const { admin } = flags
  const query = new URLSearchParams({ url, method: flags.request, format: 'json' })
  for (const line of flags.header) query.append('header', line)
  const at = /^[0-9]+$/.test(admin!) ? `127.0.0.1:${admin}` : admin
  const response = await fetch(`http://${at}/explain?${query}`, { signal: AbortSignal.timeout(10_000) }).catch(
    (error: unknown) => {
      const reason = ((error as Error).cause as Error | undefined)?.message ?? (error as Error).message
      throw new Failure(
        `no process answers at ${at} (${reason}): its admin port is mesh.adminPort or INMESH_ADMIN_PORT`,
      )
    },
  )
  const text = await response.text()
  if (!response.ok) throw new Failure(text.trim())
  return JSON.parse(text) as Explanation
}

function absoluteUrl(text: string): string {
  if (!URL.canParse(text)) throw new InvalidArgumentError('expected an absolute URL such as http://payments/charge.')
  return text
}

function collect(value: string, before: string[]): string[] {
  return [...before, value]
}

function pairs(flag: string, lines: readonly string[], separator: string): Record<string, string> {
  const found = new Map<string, string>()
  for (const line of lines) {
    const at = line.indexOf(separator)
    if (at < 1) throw new Failure(`${flag} is "${line}": expected "name${separator} value"`, 2)
    found.set(line.slice(0, at).trim(), line.slice(at + 1).trim())
  }
  return Object.fromEntries(found)
}
