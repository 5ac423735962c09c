import { Command } from 'commander'
import type { CreatedToken } from '../api/context.ts'
import { AdminClient, type ConnectionFlags, withConnection } from './admin-client.ts'
import { duration } from './duration.ts'

interface Flags extends ConnectionFlags {
  readonly service: string
  readonly namespace?: string
  readonly serviceAccount?: string
  readonly ttl?: number
}

/** `inmesh token create --service NAME`: prints the token and nothing else. */
export function tokenCommand(): Command {
  const create = withConnection(new Command('create'))
    .description('make a one-time join token for one workload; prints only the token')
    .requiredOption('--service <name>', 'service that the workload will be')
    .option('-n, --namespace <name>', 'default "default"')
    .option('--service-account <name>', 'default: the service')
    .option('--ttl <duration>', 'how long it can be used, at most 24h; default 10m', duration)
    .action(async (flags: Flags) => {
      const { service, namespace, serviceAccount, ttl } = flags
      const body = { service, namespace, serviceAccount, ttlSeconds: ttl === undefined ? undefined : ttl / 1000 }
      const { token } = await new AdminClient(flags).json<CreatedToken>('/v1/tokens', {
        method: 'POST',
        body: JSON.stringify(body),
        headers: { 'content-type': 'application/json' },
      })
      process.stdout.write(`${token}\n`)
    })
  return new Command('token').description('join tokens').addCommand(create)
}
