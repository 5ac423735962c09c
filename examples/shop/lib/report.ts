/** What a step did and found, printed as it happens. */
export class Report {
  readonly checks: { what: string; ok: boolean; found: string }[] = []
  readonly #print: (line: string) => void

  constructor(print: (line: string) => void) {
    this.#print = print
  }

  /** Something that was done: YAML applied, a process signalled. */
  did(text: string): void {
    this.#print(`   ${dim('did')}  ${indent(text)}`)
  }

  /** Something that was measured. */
  saw(text: string): void {
    this.#print(`   ${dim('saw')}  ${indent(text)}`)
  }

  /** What must hold. `found` is the measurement that says whether it does. */
  check(what: string, ok: boolean, found: string): void {
    this.checks.push({ what, ok, found })
    this.#print(`   ${ok ? green('ok ') : red('NOT')}  ${what}: ${found}`)
  }

  get passed(): boolean {
    return this.checks.length > 0 && this.checks.every((check) => check.ok)
  }
}

const colour = process.stdout.isTTY === true && process.env.NO_COLOR === undefined
const paint = (code: number) => (text: string) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text)
export const dim = paint(2)
export const bold = paint(1)
export const red = paint(31)
export const green = paint(32)

function indent(text: string): string {
  return text.trimEnd().replaceAll('\n', '\n        ')
}

/** Columns as wide as what is in them. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
