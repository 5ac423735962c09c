import { describeForeignClient } from './support/foreign-client-cases.ts'
import { describeForeignServer } from './support/foreign-server-cases.ts'
import { asServer, grpcJsXds } from './support/toolchains.ts'

const peer = grpcJsXds()
describeForeignClient(peer, { reportsNoLoad: true })
describeForeignServer(asServer(peer))
