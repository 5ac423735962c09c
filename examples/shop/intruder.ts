/** A workload of the mesh like any other, with a certificate of its own, that has no business with payment-service. */
import { createMesh } from 'inmesh'
import { type Answer, call } from './lib/hop.ts'
import { RemoteControl } from './lib/remote-control.ts'

const mesh = await createMesh({ preload: ['payment-service', 'order-service'] })
let knocking = false
const answers: Answer[] = []

const remote = new RemoteControl(mesh, {
  try: ({ method, url }: { method: string; url: string }) =>
    call(mesh, url, { method, body: method === 'POST' ? JSON.stringify({ id: 'stolen' }) : undefined }),
  startKnocking: (url: string) => {
    knocking = true
    const knock = async () => {
      if (!knocking) return
      answers.push(await call(mesh, url))
      setTimeout(knock, 5)
    }
    void knock()
  },
  stopKnocking: () => {
    knocking = false
    return answers.splice(0).map(({ status }) => status)
  },
})

await mesh.ready()
remote.ready()
