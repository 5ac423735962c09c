/** `inmesh/testing`: meshes in memory for tests of configuration and of what calls do under it. */

export type { AskedClient } from '../../control-plane/explain/explain-for.ts'
export type { ExplainRequest, Explanation } from '../engine/explain/explanation.ts'
export { formatExplanation } from '../engine/explain/format-explanation.ts'
export {
  createTestMesh,
  type TestAttemptResult,
  type TestCallOptions,
  type TestEndpoint,
  type TestMesh,
  type TestMeshOptions,
  type TestResources,
  type TestResult,
  type TestService,
} from './test-mesh.ts'
export type { Behaviour, For, SeenRequest, TestPeer } from './test-peer.ts'
