// Calls test.Echo/WhoAreYou through grpc-js-xds as lines of JSON on stdin say; answers in lines of JSON. The protocol is
// described in ../support/foreign-client.ts.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, credentials, Metadata } from '@grpc/grpc-js'
import { register, XdsChannelCredentials } from '@grpc/grpc-js-xds'

register()
const clients = new Map()
const echo = (value) => value

function clientOf(target) {
  let client = clients.get(target)
  if (client === undefined) {
    client = new Client(target, new XdsChannelCredentials(credentials.createInsecure()))
    clients.set(target, client)
  }
  return client
}

function call(client, order, result) {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(order.metadata)) metadata.set(name, value)
  const options = { deadline: Date.now() + order.deadlineMs }
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

async function run(order) {
  const result = { id: order.id, answers: {}, codes: {}, errors: [] }
  const client = clientOf(order.target)
  const open = []
  const begin = performance.now()
  for (let i = 0; i < order.count || performance.now() - begin < order.durationMs; i++) {
    const done = call(client, order, result)
    if (order.concurrent) open.push(done)
    else await done
    if (order.spacingMs > 0) await sleep(order.spacingMs)
  }
  await Promise.all(open)
  console.log(JSON.stringify({ ...result, ms: Math.round(performance.now() - begin) }))
}

createInterface({ input: process.stdin })
  .on('line', (line) => void run(JSON.parse(line)))
  .on('close', () => process.exit(0))
