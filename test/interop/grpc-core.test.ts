import { describeForeignClient } from './support/foreign-client-cases.ts'
import { grpcCore } from './support/toolchains.ts'

describeForeignClient(await grpcCore(), { earlyRouteTimeouts: true })
