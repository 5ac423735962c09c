/**
 * Generates message types (protobuf-es) for xDS and for our own protos into src/gen, which git ignores.
 *
 * The xDS .proto files come from the devDependency @grpc/grpc-js-xds. They do not compile as shipped (their
 * validate.proto is older than their envoy protos), so the import closure of the roots below is copied and stripped
 * of custom options first; docs/decisions/002-protobuf.md has the story. Skipped when nothing changed.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

const root = join(import.meta.dirname, '..')
const deps = join(root, 'node_modules/@grpc/grpc-js-xds/deps')
const includes = ['envoy-api', 'xds', 'googleapis'].map((d) => join(deps, d))
const out = join(root, 'src/gen')

const roots = [
  'envoy/service/discovery/v3/ads.proto',
  'envoy/service/status/v3/csds.proto',
  'envoy/config/listener/v3/listener.proto',
  'envoy/config/route/v3/route.proto',
  'envoy/config/cluster/v3/cluster.proto',
  'envoy/config/endpoint/v3/endpoint.proto',
  'envoy/extensions/clusters/aggregate/v3/cluster.proto',
  'envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto',
  'envoy/extensions/filters/http/router/v3/router.proto',
  'envoy/extensions/filters/http/rbac/v3/rbac.proto',
  'envoy/extensions/filters/http/fault/v3/fault.proto',
  'envoy/extensions/filters/http/cors/v3/cors.proto',
  'envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto',
  'envoy/extensions/transport_sockets/tls/v3/tls.proto',
  'envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto',
  'envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto',
  'envoy/extensions/upstreams/http/v3/http_protocol_options.proto',
  'envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto',
  'envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto',
  'envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto',
  'envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto',
  'envoy/extensions/load_balancing_policies/random/v3/random.proto',
  'envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto',
  'envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto',
  'envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.proto',
  'envoy/extensions/load_balancing_policies/pick_first/v3/pick_first.proto',
  'envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto',
  'envoy/service/load_stats/v3/lrs.proto',
  'envoy/extensions/filters/http/stateful_session/v3/stateful_session.proto',
  'envoy/extensions/http/stateful_session/cookie/v3/cookie.proto',
  'xds/type/v3/typed_struct.proto',
]
const dropped = /^(validate|udpa\/annotations|xds\/annotations|envoy\/annotations)\//
// Carried by the protobuf-es runtime.
const wellKnown = /^google\/protobuf\//

function source(path: string): string {
  for (const dir of includes) {
    const file = join(dir, path)
    if (existsSync(file)) return readFileSync(file, 'utf8')
  }
  throw new Error(`gen: ${path} is not in @grpc/grpc-js-xds/deps; was the package upgraded?`)
}

/** Removes `option (x) = ...;`, `[(x) = ...]` entries and the imports that only they need. */
function strip(text: string): string {
  const noComments = text.replace(/("(?:[^"\\\n]|\\.)*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (_, str) => str ?? '')
  let result = noComments.replace(/^import\s+(?:public\s+)?"([^"]+)";\s*$/gm, (line, p) =>
    dropped.test(p) ? '' : line,
  )
  result = result.replace(/\boption\s+\([^;{]*?(?:\{[\s\S]*?\}\s*)?;/g, '')
  return stripFieldOptions(result)
}

/** Field options stand in [...]; keeps the plain ones (deprecated, json_name, packed), drops every custom one. */
function stripFieldOptions(text: string): string {
  let out = ''
  for (let i = 0; i < text.length; ) {
    if (text[i] !== '[') {
      out += text[i++]
      continue
    }
    const end = closing(text, i)
    const kept = splitTop(text.slice(i + 1, end)).filter((o) => !o.trim().startsWith('('))
    if (kept.length > 0) out += `[${kept.join(',')}]`
    i = end + 1
  }
  return out
}

function closing(text: string, from: number): number {
  let depth = 0
  let quoted = false
  for (let i = from; i < text.length; i++) {
    const c = text[i]
    if (quoted) {
      if (c === '\\') i++
      else if (c === '"') quoted = false
    } else if (c === '"') quoted = true
    else if (c === '[' || c === '{') depth++
    else if (c === ']' || c === '}') {
      if (--depth === 0) return i
    }
  }
  throw new Error('gen: unbalanced brackets in a .proto file')
}

function splitTop(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let quoted = false
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (quoted) {
      if (c === '\\') i++
      else if (c === '"') quoted = false
    } else if (c === '"') quoted = true
    else if (c === '[' || c === '{') depth++
    else if (c === ']' || c === '}') depth--
    else if (c === ',' && depth === 0) {
      parts.push(text.slice(start, i))
      start = i + 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

function copyClosure(target: string): void {
  const done = new Set<string>()
  const queue = [...roots]
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (done.has(path) || wellKnown.test(path)) continue
    done.add(path)
    const text = strip(source(path))
    const file = join(target, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    for (const m of text.matchAll(/^import\s+(?:public\s+)?"([^"]+)";/gm)) queue.push(m[1]!)
  }
}

function fingerprint(): string {
  const hash = createHash('sha256')
  const files = readdirSync(join(root, 'proto/inmesh/v1')).map((f) => join(root, 'proto/inmesh/v1', f))
  for (const pkg of ['@grpc/grpc-js-xds', '@bufbuild/protoc-gen-es', '@bufbuild/buf'])
    files.push(join(root, 'node_modules', pkg, 'package.json'))
  for (const file of [...files.sort(), import.meta.filename]) hash.update(readFileSync(file))
  return hash.digest('hex')
}

const stampFile = join(out, '.stamp')
const stamp = fingerprint()
if (existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp) process.exit(0)

const work = mkdtempSync(join(tmpdir(), 'inmesh-gen-'))
try {
  copyClosure(join(work, 'proto'))
  cpSync(join(root, 'proto'), join(work, 'proto'), { recursive: true })
  writeFileSync(join(work, 'buf.yaml'), 'version: v2\nmodules:\n  - path: proto\n')
  const plugin = join(root, 'node_modules/.bin/protoc-gen-es')
  writeFileSync(
    join(work, 'buf.gen.yaml'),
    `version: v2\nplugins:\n  - local: ${JSON.stringify(plugin)}\n    out: gen\n    opt: [target=js+dts, import_extension=js]\n`,
  )
  execFileSync(join(root, 'node_modules/.bin/buf'), ['generate'], { cwd: work, stdio: 'inherit' })
  rmSync(out, { recursive: true, force: true })
  cpSync(join(work, 'gen'), out, { recursive: true })
  writeFileSync(stampFile, stamp)
} finally {
  rmSync(work, { recursive: true, force: true })
}
