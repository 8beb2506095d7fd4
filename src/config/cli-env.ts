/** What the command line takes from the environment of its process. */

export type CliEnvironment = {
  /** LEASEHOLD_API: URLs of directors, comma separated. */
  readonly api: string | null;
  /** LEASEHOLD_TOKEN. */
  readonly token: string | null;
  /** LEASEHOLD_TOKEN_FILE: a file that holds the token. */
  readonly tokenFile: string | null;
  /** LEASEHOLD_CACERT: a file with the authorities of the API's certificates (PEM). */
  readonly caCert: string | null;
  /** NO_COLOR (no-color.org): set and not empty. */
  readonly noColor: boolean;
};

/** Empty variables count as unset. */
export function loadCliEnvironment(
  env: Readonly<Record<string, string | undefined>> = process.env,
): CliEnvironment {
  const read = (name: string): string | null => env[name] || null;
  return {
    api: read('LEASEHOLD_API'),
    token: read('LEASEHOLD_TOKEN'),
    tokenFile: read('LEASEHOLD_TOKEN_FILE'),
    caCert: read('LEASEHOLD_CACERT'),
    noColor: read('NO_COLOR') !== null,
  };
}
