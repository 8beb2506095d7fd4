/** The certificate authorities that this machine trusts: its own bundle, where it has one, else Node's. */
import { accessSync, constants } from 'node:fs';

/** Debian and Alpine, Red Hat, SUSE. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
];

/** Null: Node's own are to be trusted. */
export function systemBundle(): string | null {
  return BUNDLES.find(isReadable) ?? null;
}

function isReadable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
