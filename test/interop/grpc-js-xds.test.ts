import { describeForeignClient } from './support/foreign-client-cases.ts'
import { grpcJsXds } from './support/toolchains.ts'

describeForeignClient(grpcJsXds())
