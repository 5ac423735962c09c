/** Whether a path of an AuthorizationPolicy has Istio's operators in it: {*} = one segment, {**} = any text. */
export function isPathTemplate(path: string): boolean {
  return path.includes('{') || path.includes('}')
}

/** What is wrong with a path template; undefined if nothing. */
export function pathTemplateProblem(path: string): string | undefined {
  const segments = path.split('/')
  const operators = segments.filter((segment) => segment === '{*}' || segment === '{**}')
  if (segments.some((segment) => segment !== '{*}' && segment !== '{**}' && /[{}*]/.test(segment)))
    return 'only {*} and {**} are operators of a path, each a whole segment'
  const any = operators.indexOf('{**}')
  if (any >= 0 && any < operators.length - 1) return '{**} must be the last operator'
  return pathTemplateRegex(path).length > 1024 ? 'is too long' : undefined
}

/** RE2 for a valid template. A segment is anything but a slash: a shorter character list lets paths slip past a DENY. */
export function pathTemplateRegex(path: string): string {
  return path
    .split('/')
    .map((segment) => (segment === '{*}' ? '[^/]+' : segment === '{**}' ? '.*' : quoteRegex(segment)))
    .join('/')
}

/** Makes every character of `text` stand for itself, in RE2 and in JavaScript. */
export function quoteRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, (character) => (/[/-]/.test(character) ? character : `\\${character}`))
}

/** The pattern as every client anchors it rightly: some only add ^ and $, which takes "a|b" apart. */
export function wholeRegex(regex: string): string {
  return regex.includes('|') ? `(?:${regex})` : regex
}
