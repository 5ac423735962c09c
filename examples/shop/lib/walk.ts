import { steps } from '../steps/index.ts'
import { bold, dim, green, Report, red, table } from './report.ts'
import type { Shop } from './shop.ts'

/** Longer than any step takes on a slow machine: a walk must end. */
const STEP_LIMIT_MS = 60_000

/** Opens the shop, walks through the steps, prints the table. `only`: numbers of steps, default all. @returns all passed */
export async function walk(shop: Shop, only?: readonly number[]): Promise<boolean> {
  const started = performance.now()
  const say = (line: string) => console.log(line)
  say(bold('Opening the shop: a control plane and nine services, each a process of its own'))
  await shop.open()
  say(dim(`   ${shop.workloads.map((w) => `${w.name} (${w.pid})`).join(', ')}, open after ${seconds(started)}`))

  const rows: string[][] = []
  for (const [index, step] of steps.entries()) {
    if (only !== undefined && !only.includes(index + 1)) continue
    say(`\n${bold(`${index + 1}. ${step.title}`)}`)
    const report = new Report(say)
    const stepStarted = performance.now()
    try {
      await withLimit(step.run(shop, report))
    } catch (error) {
      report.check('the step ran to its end', false, error instanceof Error ? error.message : String(error))
    }
    const took = seconds(stepStarted)
    say(`   ${report.passed ? green('pass') : red('fail')} ${dim(`in ${took}`)}`)
    const failures = report.checks.filter((check) => !check.ok).map((check) => check.what)
    const verdict = report.passed ? 'pass' : 'FAIL'
    rows.push([`${index + 1}`, step.title, verdict, `${report.checks.length} checks`, took, failures.join('; ')])
  }
  const passed = rows.filter((row) => row[2] === 'pass').length
  if (passed < rows.length) say(`\n${shop.logTails()}`)
  say(`\n${table([['#', 'STEP', 'RESULT', 'MEASURED', 'TIME', ''], ...rows])}`)
  say(`\nwalked in ${seconds(started)}`)
  say(`${passed} passed, ${rows.length - passed} failed`)
  return passed === rows.length
}

async function withLimit(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${STEP_LIMIT_MS / 1_000} s`)), STEP_LIMIT_MS)
  })
  try {
    await Promise.race([work, limit])
  } finally {
    clearTimeout(timer)
  }
}

function seconds(since: number): string {
  return `${((performance.now() - since) / 1_000).toFixed(1)} s`
}
