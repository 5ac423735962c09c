import { describeForeignClient } from './support/foreign-client-cases.ts'
import { grpcGo } from './support/toolchains.ts'

// Building it for the first time takes a minute or two.
describeForeignClient(await grpcGo())
