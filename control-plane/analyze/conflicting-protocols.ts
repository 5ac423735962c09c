import type { Analyzer } from './analyzer.ts'
import { seenTogether } from './seen-together.ts'

const CODE = 'IST0177'

export const conflictingProtocols: Analyzer = {
  codes: { [CODE]: 'two ServiceEntries have different protocols for one port of one host' },
  checks: {
    ServiceEntry({ name, namespace, spec, report }, world) {
      spec.ports.forEach(({ number, protocol }, p) => {
        for (const host of spec.hosts)
          for (const other of world.serviceEntriesOf(host)) {
            const theirs = other.spec.ports.find((port) => port.number === number)
            if (other.name === name || theirs === undefined || theirs.protocol === protocol) continue
            const home = { home: other.object.namespace, exportTo: other.spec.exportTo }
            if (!seenTogether({ home: namespace, exportTo: spec.exportTo }, home)) continue
            const message = `${other.name} says ${theirs.protocol} for port ${number} of ${host}: the older one decides`
            report('warning', CODE, ['ports', p, 'protocol'], message)
          }
      })
    },
  },
}
