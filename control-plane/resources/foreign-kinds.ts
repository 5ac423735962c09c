/** Groups of Kubernetes itself: objects of a deployment that lie beside the mesh's in the same files. */
const kubernetesGroups = new Set([
  '',
  'apps',
  'batch',
  'autoscaling',
  'policy',
  'networking.k8s.io',
  'rbac.authorization.k8s.io',
])
const kubernetesKinds = new Set([
  ...['Deployment', 'StatefulSet', 'DaemonSet', 'ReplicaSet', 'Pod', 'Job', 'CronJob', 'Service', 'ServiceAccount'],
  ...['Namespace', 'ConfigMap', 'Secret', 'PersistentVolumeClaim', 'HorizontalPodAutoscaler', 'PodDisruptionBudget'],
  ...['Ingress', 'NetworkPolicy', 'Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'],
])

/** Whether an object is one that Kubernetes acts on and a mesh control plane leaves alone. */
export function isKubernetesKind(apiVersion: string, kind: string): boolean {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : ''
  return kubernetesGroups.has(group) && kubernetesKinds.has(kind)
}

/** Kinds of Istio and the Gateway API that inmesh does not act on yet. */
export const notYetKinds: ReadonlySet<string> = new Set([
  ...['Gateway', 'RequestAuthentication', 'Telemetry'],
  ...['ProxyConfig', 'EnvoyFilter', 'WasmPlugin', 'TLSRoute', 'TCPRoute', 'ReferenceGrant'],
])
