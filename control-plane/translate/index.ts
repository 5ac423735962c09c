export { translate } from './translate.ts'
export type {
  ClientClass,
  ClientView,
  EncodedResource,
  MeshRevision,
  MeshSettings,
  Translate,
  Translation,
} from './types.ts'
