import type { DiscoveryRequest } from '../../src/gen/envoy/service/discovery/v3/discovery_pb.js'

interface TypeRecord {
  /** Responses that were not answered yet, oldest first. */
  open: { version: string; nonce: string }[]
  /** What the client has answered last, so what it has seen: newer responses may be on their way. */
  answered: string
  goodVersion: string
  names: readonly string[] | null
}

/**
 * Watches one ADS stream from the server's side and writes down every breach of the client rules of the protocol
 * (state of the world). Asserts nothing itself: a test looks at `breaches`.
 */
export class AdsRules {
  readonly breaches: string[] = []
  readonly #types = new Map<string, TypeRecord>()
  #requests = 0

  responseSent(typeUrl: string, version: string, nonce: string): void {
    const record = this.#record(typeUrl)
    record.open.push({ version, nonce })
  }

  requestSeen(request: DiscoveryRequest): void {
    const { typeUrl, responseNonce: nonce, errorDetail } = request
    const record = this.#record(typeUrl)
    const breach = (text: string) => this.breaches.push(`${typeUrl.split('.').at(-1)}: ${text}`)
    this.#requests++
    if ((this.#requests === 1) !== (request.node !== undefined))
      breach('the node belongs to the first request, and to no other')
    if (new Set(request.resourceNames).size !== request.resourceNames.length) breach('a name is listed twice')
    if (request.resourceNames.includes('*')) breach('asks for the wildcard')
    if (record.names === null && request.resourceNames.length === 0 && errorDetail === undefined)
      breach('the first request has no names, which means "all"')
    // A new stream goes on from the version that was accepted on the one before.
    if (record.names === null) record.goodVersion = request.versionInfo

    const answered = record.open.findIndex((r) => r.nonce === nonce)
    if (answered >= 0) {
      // Answers come in the order of the responses, so all before it were left out.
      if (answered > 0) breach(`${answered} responses before nonce ${nonce} were not answered`)
      const response = record.open[answered]
      record.open.splice(0, answered + 1)
      record.answered = nonce
      if (errorDetail === undefined) {
        if (request.versionInfo !== response?.version)
          breach(`an ACK says version "${request.versionInfo}", not "${response?.version}"`)
        record.goodVersion = request.versionInfo
      } else this.#checkNack(request, record, breach)
    } else {
      if (nonce !== record.answered) breach(`nonce "${nonce}" is not the last one seen, "${record.answered}"`)
      if (errorDetail !== undefined) breach('a refusal that answers nothing')
      if (request.versionInfo !== record.goodVersion)
        breach(`version "${request.versionInfo}" is not the last accepted, "${record.goodVersion}"`)
      const same = record.names !== null && record.names.length === request.resourceNames.length
      if (same && request.resourceNames.every((name) => record.names?.includes(name)))
        breach('a request that says nothing new')
    }
    record.names = request.resourceNames
  }

  /** Responses that were never answered. */
  get unanswered(): number {
    return [...this.#types.values()].reduce((n, record) => n + record.open.length, 0)
  }

  #checkNack(request: DiscoveryRequest, record: TypeRecord, breach: (text: string) => void): void {
    if (request.versionInfo !== record.goodVersion)
      breach(`a NACK says version "${request.versionInfo}", not the last accepted, "${record.goodVersion}"`)
    if (request.errorDetail?.code !== 3) breach(`a NACK has code ${request.errorDetail?.code}, not INVALID_ARGUMENT`)
    if (request.errorDetail?.message === '') breach('a NACK gives no reason')
  }

  #record(typeUrl: string): TypeRecord {
    let record = this.#types.get(typeUrl)
    if (record === undefined) {
      record = { open: [], answered: '', goodVersion: '', names: null }
      this.#types.set(typeUrl, record)
    }
    return record
  }
}
