// Plain JavaScript on purpose: this must run where nothing else here does.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  console.error(
    `inmesh needs Node >= 22.19 and this is ${process.versions.node}: run "npm ci" with install scripts allowed for the package "node" (it brings Node 24 along), or use a newer Node`,
  )
  process.exit(1)
}
