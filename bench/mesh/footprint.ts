/**
 * RSS of an idle meshed service beside the same service on bare node:http and undici: both listen, both have called
 * another service 200 times, both were quiet for three seconds. `node bench/mesh/footprint.ts [--json file]`, after a build.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { median } from '../statistics.ts'
import { startMesh } from './start.ts'

const { values } = parseArgs({ options: { json: { type: 'string' }, rounds: { type: 'string', default: '5' } } })
const mesh = await startMesh()
try {
  await mesh.service('payments')
  const bare: number[] = []
  const meshed: number[] = []
  for (let round = 0; round < Number(values.rounds); round++) {
    const plain = await mesh.child('bare', 'bare', {})
    bare.push(await plain.ask<number>('rss'))
    plain.stop()
    const own = await mesh.service(`caller-${round}`)
    meshed.push(await own.ask<number>('rss'))
    own.stop()
  }
  const mib = (bytes: number) => Math.round((bytes / 2 ** 20) * 10) / 10
  const result = {
    bareMiB: mib(median(bare)),
    meshedMiB: mib(median(meshed)),
    addedMiB: mib(median(meshed) - median(bare)),
  }
  console.table(result)
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ footprint: result }, null, 2)}\n`)
} finally {
  await mesh.close()
}
