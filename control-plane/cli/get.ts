import { Command, Option } from 'commander'
import { AdminClient, type ConnectionFlags, withConnection } from './admin-client.ts'

interface Flags extends ConnectionFlags {
  readonly output: 'table' | 'yaml' | 'json'
  readonly namespace?: string
}

const accept = { table: 'text/plain', yaml: 'application/yaml', json: 'application/vnd.inmesh.list+json' } as const

/** `inmesh get KIND [NAME]`. */
export function getCommand(): Command {
  return withConnection(new Command('get'))
    .description('show configuration objects')
    .argument('<kind>', 'such as VirtualService, virtualservices or vs')
    .argument('[name]')
    .addOption(new Option('-o, --output <format>').choices(['table', 'yaml', 'json']).default('table'))
    .option('-n, --namespace <name>', 'of one object: default "default"; of a list: default all')
    .action(async (kind: string, name: string | undefined, flags: Flags) => {
      const { namespace } = flags
      const query = namespace === undefined ? '' : `?namespace=${encodeURIComponent(namespace)}`
      const path =
        name === undefined
          ? `/v1/${encodeURIComponent(kind)}${query}`
          : `/v1/${[kind, namespace ?? 'default', name].map(encodeURIComponent).join('/')}`
      const response = await new AdminClient(flags).request(path, { headers: { accept: accept[flags.output] } })
      const text = await response.text()
      if (text === '') process.stderr.write('none found\n')
      process.stdout.write(text)
    })
}
