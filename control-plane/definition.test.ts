import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import * as definition from './definition.ts'
import { defineMesh, meshConfig, servicePolicy, sidecar, trafficSplit, virtualService } from './definition.ts'
import { parseDocuments, validateBatch } from './resources/index.ts'
import { kinds } from './resources/kinds.ts'
import { definitionText, readSources, type Sources } from './source-files.ts'

const problemsOf = (sources: Sources) => {
  const parsed = parseDocuments(sources.text)
  const { problems } = validateBatch(parsed.documents, { objects: [], endpoints: [], services: [] })
  return [...parsed.problems, ...problems].map((problem) => sources.place(problem))
}
const folders: string[] = []
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true })
})

describe('a mesh as code', () => {
  it('has a helper for every kind, with an apiVersion that is accepted', () => {
    for (const { kind, apiVersions } of kinds) {
      const name = kind.replace(/^(?:[A-Z]+(?=[A-Z])|[A-Z])/, (capitals) => capitals.toLowerCase())
      const make = (
        definition as unknown as Record<string, (...args: unknown[]) => { kind: string; apiVersion: string }>
      )[name]
      expect(make, `a helper ${name}`).toBeTypeOf('function')
      expect(make!('x', {}).kind).toBe(kind)
      expect(apiVersions).toContain(make!('x', {}).apiVersion)
    }
  })

  it('becomes the objects that the same YAML would be', () => {
    const mesh = defineMesh({
      resources: [
        meshConfig({ connectTimeout: '2s' }),
        sidecar('default', { egress: [{ hosts: ['./*'] }] }, { namespace: 'shop' }),
        trafficSplit('payments', { destinationService: 'payments', v1Weight: 90, v2Weight: 10 }),
        { apiVersion: 'inmesh.dev/v1', kind: 'ServicePolicy', spec: { service: 'payments', retryAttempts: 1 } },
      ],
    })
    const { documents } = parseDocuments(definitionText(mesh).text)
    const { objects } = validateBatch(documents, { objects: [], endpoints: [], services: [] })
    expect(objects.map((o) => `${o.kind}/${o.namespace}/${o.name}`)).toEqual([
      ...['MeshConfig/istio-system/default', 'Sidecar/shop/default'],
      ...['TrafficSplit/default/payments', 'ServicePolicy/default/payments'],
    ])
  })

  it('problems name the resource and the field', () => {
    const mesh = defineMesh({
      resources: [
        servicePolicy('ledger', { service: 'ledger' }),
        virtualService('payments', {
          hosts: ['payments'],
          http: [{ route: [{ destination: { host: 'payments' } }], timeout: 'soon' }],
        }),
      ],
    })
    const errors = problemsOf(definitionText(mesh)).filter((p) => p.severity === 'error')
    expect(errors).toMatchObject([{ field: 'resources[1].spec.http[0].timeout' }])
    expect(errors[0]).not.toHaveProperty('line')
  })

  it('is typed by kind', () => {
    // @ts-expect-error a field that TrafficSplit does not have
    trafficSplit('a', { destinationService: 'a', weight: 1 })
    // @ts-expect-error durations are text
    meshConfig({ connectTimeout: 5 })
    // @ts-expect-error no such kind
    defineMesh({ resources: [{ apiVersion: 'inmesh.dev/v1', kind: 'Nonsense', spec: {} }] })
    expect(meshConfig({ connectTimeout: '5s' }).kind).toBe('MeshConfig')
  })

  it('is read from a module as from YAML, beside it', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'inmesh-definition-'))
    folders.push(folder)
    const [code, yaml] = [join(folder, 'mesh.mjs'), join(folder, 'more.yaml')]
    const resource = "{ apiVersion: 'inmesh.dev/v1', kind: 'ServicePolicy', spec: { service: 'a', retryAttempts: -1 } }"
    await writeFile(code, `const count = 1\nexport default { resources: [${resource}], count }\n`)
    await writeFile(yaml, 'apiVersion: inmesh.dev/v1\nkind: ServicePolicy\nspec: { service: b, timeoutMs: -1 }\n')
    const errors = problemsOf(await readSources([code, yaml], false)).filter((p) => p.severity === 'error')
    expect(errors).toMatchObject([
      { file: code, field: 'resources[0].spec.retryAttempts' },
      { file: yaml, field: 'spec.timeoutMs', line: 3 },
    ])
  })

  it('may be TypeScript, which Node runs as it is', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'inmesh-definition-'))
    folders.push(folder)
    const code = join(folder, 'mesh.ts')
    await writeFile(code, "const kind: string = 'ServicePolicy'\nexport default { resources: [{ kind }] }\n")
    const reader = pathToFileURL(join(import.meta.dirname, 'source-files.ts')).href
    const script = `const { readSources } = await import(${JSON.stringify(reader)})
      process.stdout.write((await readSources([${JSON.stringify(code)}], false)).text)`
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
    expect(stdout).toBe('{"kind":"ServicePolicy"}')
  })

  it('a module that exports something else is refused by name', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'inmesh-definition-'))
    folders.push(folder)
    await writeFile(join(folder, 'mesh.mjs'), 'export default 42\n')
    await expect(readSources([join(folder, 'mesh.mjs')], false)).rejects.toThrow(
      /mesh\.mjs: the default export is not a mesh/,
    )
    await expect(readSources([join(folder, 'none.ts')], false)).rejects.toThrow(/none\.ts: no such file/)
  })
})
