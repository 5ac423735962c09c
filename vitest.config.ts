import { defineConfig } from 'vitest/config'

// Two cores are the smallest machine that CI has: bound the workers instead of the timeouts.
const shared = { pool: 'forks' as const, maxWorkers: 2, testTimeout: 20_000, hookTimeout: 30_000 }

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...shared,
          name: 'unit',
          include: ['src/**/*.test.ts', 'control-plane/**/*.test.ts', 'scripts/**/*.test.ts'],
        },
      },
      { test: { ...shared, name: 'integration', include: ['test/integration/**/*.test.ts'], testTimeout: 60_000 } },
      { test: { ...shared, name: 'recipes', include: ['test/recipes/**/*.test.ts'] } },
      { test: { ...shared, name: 'interop', include: ['test/interop/**/*.test.ts'], testTimeout: 60_000 } },
    ],
  },
})
