/** Where inmesh writes what an operator should know. pino and console-like loggers fit after a one-line adapter. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
}

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }

const levels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof levels)[number]

/** One JSON object a line on stderr; `level` is the least severe that is written. */
export function jsonLogger(level: LogLevel, base: Readonly<Record<string, unknown>> = {}): Logger {
  const least = levels.indexOf(level)
  const at = (own: LogLevel) =>
    levels.indexOf(own) < least
      ? () => undefined
      : (message: string, fields?: Readonly<Record<string, unknown>>) => {
          process.stderr.write(
            `${JSON.stringify({ time: new Date().toISOString(), level: own, ...base, message, ...fields }, errorsAsText)}\n`,
          )
        }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

function errorsAsText(_key: string, value: unknown): unknown {
  return value instanceof Error ? value.message : value
}
