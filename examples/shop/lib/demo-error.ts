/** Something that the reader of the demo can do something about: printed without a stack. */
export class DemoError extends Error {}
