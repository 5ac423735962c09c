/** What an endpoint speaks; '' = HTTP. */
export const endpointProtocol = `
ALTER TABLE endpoint ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
`
