import { errors } from 'undici'
import { describe, expect, it } from 'vitest'
import { Kind } from '../engine/outcome.ts'
import { InmeshError } from '../errors.ts'
import { classifyConnect } from '../transport/connect-failure.ts'
import { classifyRequest } from './classify.ts'

function coded(code: string, message = code): Error {
  return Object.assign(new Error(message), { code })
}

describe('what an error of the transport means', () => {
  it.each(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'ECONNRESET'])(
    '%s while connecting: the host, and nothing was sent',
    (code) => {
      const { kind, rejection } = classifyConnect(coded(code))
      expect(kind).toBe(Kind.ConnectFailure)
      expect(rejection).toMatchObject({ status: 503, flag: 'UF' })
      expect(rejection?.details).toBe(`upstream_reset_before_response_started{connection_failure|${code}}`)
    },
  )

  it.each([
    'ERR_TLS_CERT_ALTNAME_INVALID',
    'CERT_HAS_EXPIRED',
    'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    'ERR_SSL_WRONG_VERSION_NUMBER',
  ])('%s while connecting: the host, and the details say TLS', (code) =>
    expect(classifyConnect(coded(code)).rejection?.details).toContain(`TLS_error:${code}`),
  )

  it.each(['EMFILE', 'ENFILE', 'ENOBUFS', 'EADDRNOTAVAIL'])('%s: this process, and no host is to blame', (code) => {
    for (const failure of [classifyConnect(coded(code)), classifyRequest(coded(code), false, true)])
      expect(failure).toMatchObject({ kind: Kind.Local, rejection: { status: 503, flag: 'UO' } })
  })

  it('no certificate of our own: this process, and the answer says which', () => {
    const failure = classifyConnect(new InmeshError('ERR_INMESH_IDENTITY', 'expired at noon'))
    expect(failure).toMatchObject({ kind: Kind.Local, rejection: { status: 503, flag: 'UF', body: 'expired at noon' } })
  })

  it.each([
    coded('ECONNRESET'),
    coded('EPIPE'),
    new errors.SocketError('other side closed'),
    new errors.ResponseContentLengthMismatchError(),
    new errors.HTTPParserError('Response does not match the HTTP/1.1 protocol (Invalid EOF state)'),
    coded('ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC'),
  ])('$message after the request was sent: a reset', (error) => {
    expect(classifyRequest(error, false, false).kind).toBe(Kind.Reset)
  })

  it('an alert of the TLS handshake: a failed connection, unless the connection had served before', () => {
    const alert = coded('ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED')
    expect(classifyRequest(alert, false, true).kind).toBe(Kind.ConnectFailure)
    expect(classifyRequest(alert, true, true).kind).toBe(Kind.Reset)
    expect(classifyRequest(alert, false, false).kind).toBe(Kind.Reset)
  })

  it('garbage: a protocol error', () => {
    const garbage = new errors.HTTPParserError('Response does not match the HTTP/1.1 protocol (Expected HTTP/)')
    expect(classifyRequest(garbage, false, true).kind).toBe(Kind.ProtocolError)
    expect(classifyRequest(new errors.HeadersOverflowError(), true, true).kind).toBe(Kind.ProtocolError)
  })

  it('what the caller asked for and cannot be: the caller', () => {
    for (const error of [
      new errors.InvalidArgumentError('x'),
      new errors.RequestContentLengthMismatchError(),
      new Error('thrown by a handler'),
    ])
      expect(classifyRequest(error, false, true).kind).toBe(Kind.Cancelled)
  })

  it('timeouts that the caller set: a timeout', () => {
    expect(classifyRequest(new errors.HeadersTimeoutError(), false, true).kind).toBe(Kind.TryTimeout)
    expect(classifyRequest(new errors.BodyTimeoutError(), true, true).kind).toBe(Kind.TryTimeout)
  })
})
