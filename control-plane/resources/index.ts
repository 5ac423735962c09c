export {
  documentOf,
  type FieldPath,
  type ParsedDocuments,
  type ParseLimits,
  parseDocuments,
  type SourceDocument,
} from './document.ts'
export { findKind, type Kind, kinds, type SpecOf, specOf } from './kinds.ts'
export { formatJson, formatTable, formatYaml, toDocument } from './output.ts'
export { applyPolicy, computeTrafficSplit, type ServicePolicyRow } from './policy.ts'
export { type ExistingState, type ValidatedBatch, validateBatch } from './validate.ts'
