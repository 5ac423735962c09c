import type { Logger } from '../model/logger.ts'
import type { WorkloadInfo } from '../model/workload.ts'
import { activeTracer } from './otel.ts'

/** A running OpenTelemetry SDK; `shutdown` sends what is still queued. */
export interface RunningSdk {
  shutdown(): Promise<void>
}

export interface StartSdkOptions {
  readonly workload: WorkloadInfo
  readonly logger: Logger
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Gives the module; tests replace it. */
  readonly load?: () => Promise<typeof import('@opentelemetry/sdk-node')>
}

/**
 * Starts OpenTelemetry's Node SDK when the environment asks for traces (OTEL_TRACES_EXPORTER, or an OTLP endpoint) and the
 * app has not registered a provider itself. Only traces, without instrumentations: spans come from the mesh. Everything
 * else (endpoint, protocol, sampler, propagators, batching) is read by the SDK from its own OTEL_* variables.
 * @returns null when there is nothing to start; a missing @opentelemetry/sdk-node is one warning, never an error
 */
export async function startSdk(options: StartSdkOptions): Promise<RunningSdk | null> {
  const { workload, logger, env = process.env, load = () => import('@opentelemetry/sdk-node') } = options
  if (!tracesWanted(env) || activeTracer() !== null) return null
  let module: typeof import('@opentelemetry/sdk-node')
  try {
    module = await load()
  } catch (cause) {
    logger.warn(
      'traces are configured (OTEL_*), but @opentelemetry/sdk-node is not installed: npm i @opentelemetry/sdk-node',
      {
        cause,
      },
    )
    return null
  }
  const sdk = new module.NodeSDK({
    serviceName: env.OTEL_SERVICE_NAME ?? workload.service,
    resourceDetectors: [{ detect: () => ({ attributes: resourceAttributes(workload, env) }) }],
    instrumentations: [],
    metricReaders: [],
    logRecordProcessors: [],
  })
  sdk.start()
  return sdk
}

function tracesWanted(env: Readonly<Record<string, string | undefined>>): boolean {
  if (env.OTEL_SDK_DISABLED === 'true') return false
  const exporter = env.OTEL_TRACES_EXPORTER ?? ''
  if (exporter !== '') return exporter !== 'none'
  return [env.OTEL_EXPORTER_OTLP_ENDPOINT, env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT].some(
    (v) => v !== undefined && v !== '',
  )
}

/** Who we are, for the backend; what the operator wrote into OTEL_RESOURCE_ATTRIBUTES goes before what we know. */
function resourceAttributes(
  workload: WorkloadInfo,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const attributes: Record<string, string> = {
    'service.namespace': workload.namespace,
    'service.instance.id': workload.instanceId,
  }
  if (workload.labels.version !== undefined) attributes['service.version'] = workload.labels.version
  for (const pair of (env.OTEL_RESOURCE_ATTRIBUTES ?? '').split(',')) {
    const at = pair.indexOf('=')
    if (at > 0) attributes[pair.slice(0, at).trim()] = decoded(pair.slice(at + 1).trim())
  }
  return attributes
}

/** Percent-decoded, or as it is when it is not percent-encoded. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A lone "%": the standard says to drop the value, a reader prefers to see it.
    return text
  }
}
