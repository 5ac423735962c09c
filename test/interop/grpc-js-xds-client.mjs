// Calls a target of grpc-js-xds a number of times and prints who answered how often. A process of its own, because
// grpc-js-xds reads its bootstrap once per process.
import { Client, credentials } from '@grpc/grpc-js'
import { register } from '@grpc/grpc-js-xds'

register()
const [target, count] = process.argv.slice(2)
const client = new Client(target, credentials.createInsecure())
const echo = (value) => value
const call = () =>
  new Promise((resolve, reject) =>
    client.makeUnaryRequest(
      '/test.Echo/WhoAreYou',
      echo,
      echo,
      Buffer.alloc(0),
      { deadline: Date.now() + 20_000 },
      (error, value) => (error ? reject(error) : resolve(String(value))),
    ),
  )
// Round robin is over the servers that are connected; the first answers bring both in.
for (const seen = new Set(); seen.size < 2; ) seen.add(await call())
const answers = {}
for (let i = 0; i < Number(count); i++) {
  const name = await call()
  answers[name] = (answers[name] ?? 0) + 1
}
console.log(JSON.stringify({ answers }))
process.exit(0)
