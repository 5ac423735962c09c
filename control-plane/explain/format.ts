export type { Explanation } from '../../src/engine/explain/explanation.ts'
export { formatExplanation } from '../../src/engine/explain/format-explanation.ts'
