/** An authority and certificates of every kind, good and bad, for TLS servers on loopback; made by openssl(1). */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runOk } from './processes.ts';

export type Certificate = {
  /** With the chain, as servers send it. */
  readonly certFile: string;
  readonly keyFile: string;
  readonly cert: Buffer;
  readonly key: Buffer;
};

export type Certificates = {
  readonly directory: string;
  readonly caFile: string;
  /** Another authority, which has signed none of these. */
  readonly strangeCaFile: string;
  /** For www.example.org and 127.0.0.1, 90 days. */
  readonly good: Certificate;
  /** For other.example.org only. */
  readonly wrongName: Certificate;
  readonly expired: Certificate;
  /** Five days and some hours left. */
  readonly shortly: Certificate;
  readonly selfSigned: Certificate;
  /** For clients. */
  readonly client: Certificate;
  close(): void;
};

const KEY = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
const NAMES = 'subjectAltName=DNS:www.example.org,IP:127.0.0.1,IP:::1';

/** Words without spaces in them. */
const openssl = (words: string, ...more: readonly string[]): Promise<string> =>
  runOk(['openssl', ...words.split(' '), ...more]);

export async function makeCertificates(): Promise<Certificates> {
  const directory = mkdtempSync(join(tmpdir(), 'leasehold-certificates-'));
  const at = (name: string): string => join(directory, name);
  const selfSign = (name: string, ...more: readonly string[]): Promise<string> =>
    openssl(
      `req -x509 ${KEY} -keyout ${at(name)}.key -out ${at(name)}.pem -days 365 -subj /CN=${name}`,
      ...more,
    );
  const load = (name: string): Certificate => {
    const [certFile, keyFile] = [at(`${name}.pem`), at(`${name}.key`)];
    return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) };
  };
  const sign = async (name: string, names: string, days: number): Promise<Certificate> => {
    const file = at(name);
    await openssl(`req -new ${KEY} -keyout ${file}.key -out ${file}.csr -subj /CN=${name}`);
    writeFileSync(`${file}.ext`, names);
    await openssl(
      `x509 -req -in ${file}.csr -CA ${at('ca.pem')} -CAkey ${at('ca.key')} -CAcreateserial`,
      ...`-days ${days} -out ${file}.pem -extfile ${file}.ext`.split(' '),
    );
    return load(name);
  };
  await selfSign('ca');
  await selfSign('strange');
  await selfSign('self', '-addext', NAMES);
  return {
    directory,
    caFile: at('ca.pem'),
    strangeCaFile: at('strange.pem'),
    good: await sign('good', NAMES, 90),
    wrongName: await sign('other', 'subjectAltName=DNS:other.example.org', 90),
    expired: await sign('expired', NAMES, -1),
    shortly: await sign('shortly', NAMES, 6),
    selfSigned: load('self'),
    client: await sign('client', 'extendedKeyUsage=clientAuth', 90),
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}
