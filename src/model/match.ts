/** Matchers as data; src/match compiles them. Semantics: Envoy's StringMatcher and HeaderMatcher. */
export type StringMatch =
  | { readonly kind: 'exact' | 'prefix' | 'suffix' | 'contains'; readonly value: string; readonly ignoreCase: boolean }
  /** RE2 syntax; must match the whole text. */
  | { readonly kind: 'regex'; readonly value: string }

export type HeaderMatch = {
  /** Lower case; `:method`, `:authority`, `:path` name the parts of the request line. */
  readonly name: string
  readonly invert: boolean
  /** Envoy's treat_missing_header_as_empty. */
  readonly missingAsEmpty: boolean
} & (
  | { readonly kind: 'string'; readonly match: StringMatch }
  | { readonly kind: 'present'; readonly present: boolean }
  /** [start, end) */
  | { readonly kind: 'range'; readonly start: number; readonly end: number }
)

/** An address range, as text "10.0.0.0" or "fd00::" and prefix length in bits. */
export interface Cidr {
  readonly address: string
  readonly prefixLength: number
}
