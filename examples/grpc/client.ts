/** Calls of all four kinds, then a hundred to see which versions answer. */
import { promisify } from 'node:util'
import { createMesh } from 'inmesh'
import { Payments, type Receipt } from './payments.ts'

const mesh = await createMesh()
const payments = mesh.grpc.client(Payments, 'payments')
const charge = promisify<{ amount: number }, Receipt | undefined>(payments.charge.bind(payments))

console.log('charge:', (await charge({ amount: 5 }))?.caller)

const instalments: number[] = []
for await (const { amount } of payments.instalments({ amount: 25 })) instalments.push(amount)
console.log('instalments:', instalments.join(' '))

const total = await new Promise<Receipt | undefined>((resolve, reject) => {
  const call = payments.chargeAll((error, receipt) => (error === null ? resolve(receipt) : reject(error)))
  for (const amount of [1, 2, 3]) call.write({ amount })
  call.end()
})
console.log('all:', total?.amount)

const till = payments.till()
for (const amount of [7, 8]) till.write({ amount })
till.end()
const rung: number[] = []
for await (const { amount } of till as AsyncIterable<Receipt>) rung.push(amount)
console.log('till:', rung.join(' '))

const seen: Record<string, number> = { v1: 0, v2: 0 }
for (let i = 0; i < 100; i++) {
  const { version = '' } = (await charge({ amount: 1 })) ?? {}
  seen[version] = (seen[version] ?? 0) + 1
}
console.log('versions:', JSON.stringify(seen))
await mesh.close()
