import { describeForeignClient } from './support/foreign-client-cases.ts'
import { describeForeignServer } from './support/foreign-server-cases.ts'
import { asServer, grpcCore } from './support/toolchains.ts'

const peer = await grpcCore()
describeForeignClient(peer, { earlyRouteTimeouts: true, goesByLoad: true })
describeForeignServer(asServer(peer))
