import { table } from './report.ts'
import type { Shop } from './shop.ts'

/** What to try while the shop stays open. */
export function invite(shop: Shop): string {
  const env = Object.entries(shop.controlPlane.cliEnv())
  const order = shop.one('order-service')
  const tries = [
    ['npx inmesh status', 'who is connected, and with what'],
    ['npx inmesh apply -f examples/shop/policies/trafficsplit-95-5.yaml', 'then ask for many quotes'],
    ['npx inmesh get trafficsplit -o yaml', 'what is in force'],
    [`curl -s ${shop.url}/checkout`, 'one request, all its hops'],
    [`curl -s http://127.0.0.1:${order.adminPort}/metrics`, 'what order-service counts'],
    [`curl -s http://127.0.0.1:${order.adminPort}/config_dump`, 'what it was told'],
    [`kill -9 ${shop.one('payment-service').pid}`, 'a payment-service dies; ask for quotes'],
  ].map(([command, why]) => [`  ${command}`, `# ${why}`])
  return `
The shop stays open until Ctrl-C. In another terminal, in this folder:

${env.map(([name, value]) => `  export ${name}=${value}`).join('\n')}
${table(tries)}
`
}
