// Calls test.Echo/WhoAreYou through inmesh's own gRPC client as lines of JSON on stdin say; answers in lines of JSON. It is
// started like the foreign ones: by gRPC's bootstrap, and it makes its channels by target. The protocol is described in
// ../support/foreign-client.ts.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, Metadata } from '@grpc/grpc-js'
import { createMesh } from '../../../src/index.ts'
import type { Order, Result } from '../support/foreign-client.ts'

type Task = Required<Order> & { readonly id: number }
type Counts = { id: number; answers: Record<string, number>; codes: Record<string, number>; errors: string[] }

const mesh = await createMesh({ service: 'frontend', adminPort: false })
mesh.grpc.register()
const clients = new Map<string, Client>()
const echo = (value: Buffer) => value

function clientOf(target: string): Client {
  let client = clients.get(target)
  if (client === undefined) {
    client = new Client(target, mesh.grpc.credentials())
    clients.set(target, client)
  }
  return client
}

function call(client: Client, task: Task, result: Counts): Promise<void> {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(task.metadata)) metadata.set(name, value)
  const options = { deadline: Date.now() + task.deadlineMs }
  return new Promise((resolve) => {
    client.makeUnaryRequest('/test.Echo/WhoAreYou', echo, echo, Buffer.alloc(0), metadata, options, (error, value) => {
      const code = error?.code ?? 0
      result.codes[code] = (result.codes[code] ?? 0) + 1
      if (error === null) result.answers[String(value)] = (result.answers[String(value)] ?? 0) + 1
      else if (result.errors.length < 5) result.errors.push(error.message)
      resolve()
    })
  })
}

async function run(task: Task): Promise<void> {
  const result: Counts = { id: task.id, answers: {}, codes: {}, errors: [] }
  const client = clientOf(task.target)
  const open: Promise<void>[] = []
  const begin = performance.now()
  for (let i = 0; i < task.count || performance.now() - begin < task.durationMs; i++) {
    const done = call(client, task, result)
    if (task.concurrent) open.push(done)
    else await done
    if (task.spacingMs > 0) await sleep(task.spacingMs)
  }
  await Promise.all(open)
  const line: Result & { id: number } = { ...result, ms: Math.round(performance.now() - begin) }
  console.log(JSON.stringify(line))
}

createInterface({ input: process.stdin })
  .on('line', (line) => void run(JSON.parse(line)))
  .on('close', () => process.exit(0))
