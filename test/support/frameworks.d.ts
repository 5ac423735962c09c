/** As much of the frameworks' types as our tests use; their own are packages that nothing else here needs. */
declare module 'express' {
  import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'

  interface Request extends IncomingMessage {
    protocol: string
    hostname: string
  }
  interface Response extends ServerResponse {
    json(value: unknown): this
  }
  interface App extends RequestListener {
    get(path: string, handler: (request: Request, response: Response) => void): void
  }
  export default function express(): App
}

declare module 'koa' {
  import type { IncomingMessage, RequestListener } from 'node:http'

  interface Context {
    req: IncomingMessage
    protocol: string
    hostname: string
    body: unknown
  }
  export default class Koa {
    use(handler: (context: Context) => void): void
    callback(): RequestListener
  }
}
