import { describeForeignClient } from './support/foreign-client-cases.ts'
import { inmesh } from './support/toolchains.ts'

// Our own client of gRPC by the cases that others are held to, started in their way.
describeForeignClient(inmesh(), { goesByLoad: true, keepsWhatIsDeleted: true })
