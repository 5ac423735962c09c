import { defineConfig } from 'tsup'

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    'control-plane': 'control-plane/index.ts',
    cli: 'control-plane/cli/main.ts',
    testing: 'src/testing/index.ts',
  },
  format: 'esm',
  target: 'node22',
  platform: 'node',
  // One chunk graph: every entry shares the same singletons.
  splitting: true,
  sourcemap: false,
  clean: true,
  // Declarations come from scripts/emit-types.ts: this TypeScript has no compiler API for tsup to call.
  dts: false,
  // Prefixed builtins only: node:sqlite has no unprefixed name.
  removeNodeProtocol: false,
})
