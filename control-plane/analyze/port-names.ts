import type { Analyzer } from './analyzer.ts'

const CODE = 'IST0118'

/** "<protocol>" or "<protocol>-<anything>" is how other tools read the protocol of a port. */
const convention = /^(grpc-web|grpc|http2|https|http|tls|tcp|mongo|mysql|redis|udp)(?:-.+)?$/i

export const portNames: Analyzer = {
  codes: { [CODE]: 'the name of a port says another protocol than the port has' },
  checks: {
    ServiceEntry({ spec, report }) {
      spec.ports.forEach(({ name, protocol }, p) => {
        const said = convention.exec(name)?.[1]?.toUpperCase()
        if (said === undefined || said === protocol) return
        report('warning', CODE, ['ports', p, 'name'], `the name says ${said}, the protocol is ${protocol}`)
      })
    },
  },
}
