/** examples/grpc as it is started by `npm run demo:grpc`, with the built package. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const file = join(import.meta.dirname, '../../examples/grpc/run.ts')

it('the example of gRPC makes calls of all kinds, splits one method and ends by itself', async () => {
  // A group of its own: nothing that it started outlives the test.
  const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'], detached: true })
  let output = ''
  let errors = ''
  child.stdout.on('data', (chunk) => (output += chunk))
  child.stderr.on('data', (chunk) => (errors += chunk))
  try {
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    const [versions = '', ...lines] = output.trim().split('\n').reverse()
    expect(code, errors).toBe(0)
    expect(lines.reverse()).toEqual([
      'charge: spiffe://cluster.local/ns/default/sa/orders',
      'instalments: 10 10 5',
      'all: 6',
      'till: 7 8',
    ])
    const seen = JSON.parse(versions.replace('versions: ', '')) as { v1: number; v2: number }
    expect(seen.v1 + seen.v2).toBe(100)
    // Binomial(100, 0.2): its standard deviation is 4, so six of them are all that there is below; none at all has a chance of 2e-10.
    expect(seen.v2).toBeGreaterThan(0)
    expect(seen.v2).toBeLessThan(44)
  } finally {
    try {
      process.kill(-child.pid!, 'SIGKILL')
    } catch {
      // It has ended.
    }
  }
})
