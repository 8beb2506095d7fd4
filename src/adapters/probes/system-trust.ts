/** The certificate authorities that this machine trusts: its own bundle, where it has one, else Node's. */
import { readFileSync } from 'node:fs';
import { createSecureContext, type SecureContext } from 'node:tls';

/** Debian and Alpine, Red Hat, SUSE. */
const BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
];

let context: SecureContext | null = null;

/** Built once per process or worker: parsing some hundred certificates for every probe would cost more than it. */
export function systemTrust(): SecureContext {
  context ??= createContext();
  return context;
}

function createContext(): SecureContext {
  for (const path of BUNDLES) {
    try {
      return createSecureContext({ ca: readFileSync(path) });
    } catch {
      // Not there, or not readable: the next one.
    }
  }
  return createSecureContext();
}
