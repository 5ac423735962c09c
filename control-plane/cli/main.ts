#!/usr/bin/env node
// Nothing is imported before this check: on older Node versions some dependencies fail while they load.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(`inmesh: needs Node 22.19 or newer, this is ${process.versions.node}\n`)
  process.exitCode = 1
} else {
  // Whoever reads the output has read enough (`| head`): what is left goes nowhere, and the command ends as it would.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
  const { run } = await import('./program.ts')
  process.exitCode = await run(process.argv)
}
