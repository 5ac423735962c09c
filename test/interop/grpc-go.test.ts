import { describeForeignClient } from './support/foreign-client-cases.ts'
import { describeForeignServer } from './support/foreign-server-cases.ts'
import { asServer, grpcGo } from './support/toolchains.ts'

// Building it for the first time takes a minute or two.
const peer = await grpcGo()
describeForeignClient(peer, { goesByLoad: true })
describeForeignServer(asServer(peer))
