import { type ChannelInterface, connectivityState, credentials, experimental, Metadata, status } from '@grpc/grpc-js'
import type { GrpcListener, OpenChannel } from '../types.ts'
import { deadlineIn, FramedCall } from './framed-call.ts'

/** Name of the policy by which the targets of the mesh are balanced: it hands each call to the mesh. */
export const BALANCER = 'inmesh'

let opener: OpenChannel | null = null

/** Whose channels the targets of this process lead to; null = nobody's. */
export function setOpener(open: OpenChannel | null): void {
  opener = open
}

export function currentOpener(): OpenChannel | null {
  return opener
}

/** The policy's configuration: which name of the mesh. */
export class MeshBalancerConfig implements experimental.TypedLoadBalancingConfig {
  readonly name: string

  constructor(name: string) {
    this.name = name
  }

  static createFromJson(json: { name?: unknown }): MeshBalancerConfig {
    if (typeof json.name !== 'string')
      throw new TypeError(`${BALANCER}.name is missing: expected the name of a service`)
    return new MeshBalancerConfig(json.name)
  }

  getLoadBalancerName(): string {
    return BALANCER
  }

  toJsonObject(): object {
    return { [BALANCER]: { name: this.name } }
  }
}

type Helper = experimental.ChannelControlHelper

/** "Balances" by giving every call to a channel of the mesh, whose engine routes, picks, retries and so on. */
export class MeshBalancer implements experimental.LoadBalancer {
  private readonly helper: Helper
  private channel: ChannelInterface | null = null
  private name = ''

  constructor(helper: Helper) {
    this.helper = helper
  }

  updateAddressList(_endpoints: unknown, config: experimental.TypedLoadBalancingConfig, options: object): boolean {
    const { name } = config as MeshBalancerConfig
    if (name === this.name) return true
    this.channel?.close()
    this.channel = null
    this.name = name
    if (opener === null) {
      this.helper.updateState(connectivityState.TRANSIENT_FAILURE, new NoMesh(name), null)
      return true
    }
    try {
      this.channel = opener(name, options as Record<string, unknown>)
      this.helper.updateState(connectivityState.READY, new MeshPicker(this.channel), null)
    } catch (error) {
      this.helper.updateState(connectivityState.TRANSIENT_FAILURE, new NoMesh(name, (error as Error).message), null)
    }
    return true
  }

  exitIdle(): void {}

  resetBackoff(): void {}

  destroy(): void {
    this.channel?.close()
    this.channel = null
    this.name = ''
  }

  getTypeName(): string {
    return BALANCER
  }
}

/** Every pick is the mesh itself. */
class MeshPicker implements experimental.Picker {
  private readonly result: experimental.PickResult

  constructor(channel: ChannelInterface) {
    this.result = {
      pickResultType: experimental.PickResultType.COMPLETE,
      subchannel: new MeshSubchannel(channel) as unknown as experimental.SubchannelInterface,
      status: null,
      onCallStarted: null,
      onCallEnded: null,
    }
  }

  pick(): experimental.PickResult {
    return this.result
  }
}

class NoMesh implements experimental.Picker {
  private readonly result: experimental.PickResult

  constructor(name: string, why = 'no mesh of this process serves targets: call mesh.grpc.register()') {
    this.result = {
      pickResultType: experimental.PickResultType.TRANSIENT_FAILURE,
      subchannel: null,
      status: { code: status.UNAVAILABLE, details: `${name}: ${why}`, metadata: new Metadata() },
      onCallStarted: null,
      onCallEnded: null,
    }
  }

  pick(): experimental.PickResult {
    return this.result
  }
}

/** What a call of grpc-js needs of a connection: no more than that is there. */
class MeshSubchannel {
  private readonly channel: ChannelInterface

  constructor(channel: ChannelInterface) {
    this.channel = channel
  }

  getRealSubchannel(): this {
    return this
  }

  getConnectivityState(): connectivityState {
    return connectivityState.READY
  }

  /** Those of the app are applied above; the mesh has none of its own. */
  getCallCredentials(): ReturnType<typeof credentials.createEmpty> {
    return credentials.createEmpty()
  }

  getAddress(): string {
    return this.channel.getTarget()
  }

  getChannelzRef(): { kind: 'subchannel'; id: number; name: string } {
    return { kind: 'subchannel', id: 0, name: this.channel.getTarget() }
  }

  createCall(metadata: Metadata, host: string, method: string, listener: GrpcListener, number: number): FramedCall {
    return new FramedCall(
      this.channel.createCall(method, deadlineIn(metadata), host, null, null),
      metadata,
      listener,
      number,
    )
  }
}
