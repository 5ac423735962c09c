/**
 * The import rules of docs/architecture.md: imports point down only. Exits 1 and names each offending line.
 * (Cycles inside a layer are biome's noImportCycles.)
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

const root = join(import.meta.dirname, '..')

/** layer -> what it may import from, besides itself, packages and node builtins. First matching prefix decides. */
const layers: readonly (readonly [prefix: string, allowed: readonly string[]])[] = [
  ['src/gen/', []],
  ['src/errors.ts', []],
  ['src/model/', ['src/errors.ts']],
  ['src/match/', ['src/model/', 'src/errors.ts']],
  ['src/engine/', ['src/match/', 'src/model/', 'src/errors.ts']],
  ['src/xds/', ['src/match/', 'src/model/', 'src/gen/', 'src/errors.ts']],
  ['src/identity/', ['src/model/', 'src/gen/', 'src/errors.ts']],
  ['src/telemetry/', ['src/engine/', 'src/model/', 'src/errors.ts']],
  ['src/dns/', ['src/xds/', 'src/model/', 'src/errors.ts']],
  ['src/registry/', ['src/model/', 'src/gen/', 'src/errors.ts']],
  ['src/orca/', ['src/engine/', 'src/model/']],
  ['src/transport/', ['src/engine/', 'src/identity/', 'src/telemetry/', 'src/match/', 'src/model/', 'src/errors.ts']],
  [
    'src/http/',
    [
      'src/orca/',
      'src/transport/',
      'src/engine/',
      'src/identity/',
      'src/telemetry/',
      'src/match/',
      'src/model/',
      'src/errors.ts',
    ],
  ],
  [
    'src/grpc/',
    [
      'src/orca/',
      'src/transport/',
      'src/engine/',
      'src/identity/',
      'src/telemetry/',
      'src/match/',
      'src/model/',
      'src/errors.ts',
    ],
  ],
  // A whole mesh in memory: both planes.
  ['src/testing/', ['src/', 'control-plane/']],
  // The control plane in this process: types, and one dynamic import.
  ['src/embedded.ts', ['src/', 'control-plane/embedded.ts', 'control-plane/definition.ts']],
  ['src/index.ts', ['src/', 'control-plane/definition.ts']],
  ['src/', ['src/']],
  // Explains by the engine what a client would do: the one part of the control plane that runs a data plane.
  ['control-plane/explain/', ['control-plane/', 'src/engine/', 'src/xds/', 'src/model/', 'src/errors.ts']],
  [
    'control-plane/',
    ['control-plane/', 'src/match/', 'src/model/', 'src/gen/', 'src/identity/', 'src/errors.ts', 'src/xds/proto.ts'],
  ],
]

const problems: string[] = []
for (const top of ['src', 'control-plane']) {
  for (const entry of readdirSync(join(root, top), { recursive: true, encoding: 'utf8' })) {
    const file = `${top}/${entry}`
    if (!file.endsWith('.ts') || file.endsWith('.test.ts') || file.endsWith('.d.ts') || file.startsWith('src/gen/'))
      continue
    // What only tests use: the translation, for one, is tried with the data plane's own decoders.
    if (/^control-plane\/.*\/testing\//.test(file)) continue
    const layer = layers.find(([prefix]) => file.startsWith(prefix))
    if (layer === undefined) continue
    const [own, allowed] = layer
    readFileSync(join(root, file), 'utf8')
      .split('\n')
      .forEach((line, index) => {
        const spec = /(?:from|import)\s*\(?\s*'(\.{1,2}\/[^']+)'/.exec(line)?.[1]
        if (spec === undefined) return
        const target = relative(root, join(root, dirname(file), spec))
        if (target.startsWith(own) || allowed.some((a) => target.startsWith(a))) return
        problems.push(`${file}:${index + 1}: ${own} may not import ${target}`)
      })
  }
}
for (const p of problems) console.error(p)
if (problems.length > 0) process.exit(1)
