import type { Report } from './report.ts'
import type { Shop } from './shop.ts'

/** One numbered step of the walk: does something to the shop and measures what comes of it. Leaves the shop as it found it. */
export interface Step {
  readonly title: string
  run(shop: Shop, report: Report): Promise<void>
}
