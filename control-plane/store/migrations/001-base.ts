/**
 * Tables, and read-only views that carry the names and columns of the mission (ServicePolicy, CertificateRecord,
 * TrafficSplit, ServiceEndpoint). SQLite compares names without case, hence the plain names of the tables below them.
 */
export const base = `
CREATE TABLE meta (k TEXT PRIMARY KEY, v INTEGER NOT NULL) STRICT;
-- rev: the one revision counter. floor: cursors below it cannot resume. endpoints: revision of their last change.
INSERT INTO meta (k, v) VALUES ('rev', 0), ('floor', 0), ('endpoints', 0);

CREATE TABLE resource (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,
  ns TEXT NOT NULL,
  name TEXT NOT NULL,
  api_version TEXT NOT NULL,
  uid TEXT NOT NULL,
  generation INTEGER NOT NULL,
  rev INTEGER NOT NULL,
  deleted INTEGER NOT NULL DEFAULT 0,
  labels TEXT NOT NULL,
  annotations TEXT NOT NULL,
  spec TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  updated_by TEXT NOT NULL,
  UNIQUE (kind, ns, name)
) STRICT;
CREATE INDEX resource_rev ON resource (rev);

CREATE TABLE endpoint (
  service TEXT NOT NULL,
  ns TEXT NOT NULL,
  address TEXT NOT NULL,
  port INTEGER NOT NULL,
  labels TEXT NOT NULL,
  locality TEXT NOT NULL,
  weight INTEGER NOT NULL,
  spiffe_id TEXT NOT NULL,
  health TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  PRIMARY KEY (service, ns, address, port)
) STRICT, WITHOUT ROWID;

CREATE TABLE service (
  service TEXT NOT NULL,
  ns TEXT NOT NULL,
  first_seen_at INTEGER NOT NULL,
  PRIMARY KEY (service, ns)
) STRICT, WITHOUT ROWID;

CREATE TABLE certificate (
  serial TEXT PRIMARY KEY,
  service TEXT NOT NULL,
  spiffe_id TEXT NOT NULL,
  cert_pem TEXT NOT NULL,
  private_key TEXT NOT NULL,
  issued_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  requester TEXT NOT NULL
) STRICT;
CREATE INDEX certificate_service ON certificate (service, issued_at);
CREATE INDEX certificate_spiffe_id ON certificate (spiffe_id);

CREATE TABLE token (
  secret_hash TEXT PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  service TEXT NOT NULL,
  ns TEXT NOT NULL,
  service_account TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_at INTEGER
) STRICT;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  verb TEXT NOT NULL,
  subject TEXT NOT NULL,
  detail TEXT NOT NULL,
  result TEXT NOT NULL
) STRICT;

CREATE VIEW ServicePolicy AS
SELECT json_extract(spec, '$.service') AS service_name,
       coalesce(json_extract(spec, '$.retryAttempts'), 3) AS retry_attempts,
       coalesce(json_extract(spec, '$.timeoutMs'), 5000) AS timeout_ms,
       coalesce(json_extract(spec, '$.cbThreshold'), 50) AS cb_threshold,
       coalesce(json_extract(spec, '$.cbWindowSec'), 30) AS cb_window_sec,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at
FROM resource WHERE kind = 'ServicePolicy' AND deleted = 0;

CREATE VIEW TrafficSplit AS
SELECT id,
       json_extract(spec, '$.sourceService') AS source_service,
       json_extract(spec, '$.destinationService') AS destination_service,
       coalesce(json_extract(spec, '$.v1Weight'), 100) AS v1_weight,
       coalesce(json_extract(spec, '$.v2Weight'), 0) AS v2_weight,
       json_extract(spec, '$.headerMatch') AS header_match,
       strftime('%Y-%m-%dT%H:%M:%fZ', updated_at / 1000.0, 'unixepoch') AS updated_at
FROM resource WHERE kind = 'TrafficSplit' AND deleted = 0;

CREATE VIEW CertificateRecord AS
SELECT service AS service_name,
       cert_pem,
       private_key,
       strftime('%Y-%m-%dT%H:%M:%fZ', expires_at / 1000.0, 'unixepoch') AS expiry,
       strftime('%Y-%m-%dT%H:%M:%fZ', issued_at / 1000.0, 'unixepoch') AS issued_at
FROM certificate;

CREATE VIEW ServiceEndpoint AS
SELECT service AS service_name,
       address AS pod_ip,
       port,
       json_extract(labels, '$.version') AS version,
       health = 'HEALTHY' AS healthy
FROM endpoint;
`
