/**
 * What a check asks of its target, and what may be wrong with the answer: one type for each kind of check. Pure data
 * that every director reads alike; how often it is asked is `CheckTiming` in `cluster.ts`.
 */
import type { IpAddress } from './address.ts';
import type { DirectorId } from './ids.ts';

/** Bytes as lower-case hexadecimal digits: the document's texts, escapes and raw bytes in one form. */
export type HexBytes = string;

/**
 * What an answer shall contain. Expressions are those of `lib/pattern.ts`: their time grows with the length of the
 * answer, never faster.
 */
export type Matcher =
  | { readonly kind: 'bytes'; readonly hex: HexBytes }
  | { readonly kind: 'pattern'; readonly source: string; readonly ignoreCase: boolean };

export const DIGEST_ALGORITHMS = ['md5', 'sha1', 'sha256', 'sha512'] as const;
export type DigestAlgorithm = (typeof DIGEST_ALGORITHMS)[number];
export type Digest = { readonly algorithm: DigestAlgorithm; readonly hex: HexBytes };

export type TlsOptions = {
  /** Of the chain, and of the name or address. False: the certificate is only looked at for `daysLeft`. */
  readonly verify: boolean;
  /** Sent as SNI and wanted in the certificate; null: the request's host where it is a name, else the address. */
  readonly name: string | null;
  /** File of authorities on each director; null: those that its system trusts. */
  readonly ca: string | null;
  /** Files of a client certificate on each director; both or none. */
  readonly cert: string | null;
  readonly key: string | null;
  /** Fewer whole days than this until a certificate of the chain expires are a failure; null: it need only be valid. */
  readonly daysLeft: number | null;
};

/** A conversation of at most one question and one answer, over TCP or TLS. */
export type Exchange = {
  /** Null or absent: nothing is sent. */
  readonly send?: HexBytes | null;
  /** Null or absent: who accepts the connection is up. */
  readonly expect?: Matcher | null;
};

export type HttpRequest = {
  readonly method: string;
  readonly path: string;
  /** Host header; null: the address, with the port where it is not the scheme's own. */
  readonly host: string | null;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Null: none. */
  readonly body: HexBytes | null;
  /** Inclusive ranges of acceptable status codes. */
  readonly status: readonly (readonly [number, number])[];
  /** Of the whole body; a body beyond `bodyMax` fails then. */
  readonly digest: Digest | null;
  readonly match: Matcher | null;
  readonly noMatch: Matcher | null;
};

export type HttpCheck = {
  readonly kind: 'http' | 'https';
  readonly version: '1.0' | '1.1';
  /** One after the other, each on its own connection, all within the one deadline; all must pass. 1 to 16. */
  readonly requests: readonly HttpRequest[];
  /** Bytes of a body that are looked at. */
  readonly bodyMax: number;
  /** Of https; null exactly for http. */
  readonly tls: TlsOptions | null;
};

export type TcpCheck = { readonly kind: 'tcp' } & Exchange;
export type TlsCheck = { readonly kind: 'tls'; readonly tls: TlsOptions } & Exchange;

export type IcmpCheck = {
  readonly kind: 'icmp';
  /** Bytes of payload, 8 to 1400. */
  readonly size: number;
};

export type SmtpCheck = {
  readonly kind: 'smtp';
  /** Null: the director's host name. */
  readonly helo: string | null;
  readonly security: 'none' | 'starttls' | 'tls';
  /** Null exactly with security `none`. */
  readonly tls: TlsOptions | null;
};

export const DNS_TYPES = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNSKEY: 48,
  RRSIG: 46,
  HTTPS: 65,
  CAA: 257,
} as const;
export type DnsType = keyof typeof DNS_TYPES;

export const DNS_RCODES = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
} as const;
export type DnsRcode = keyof typeof DNS_RCODES;

export type DnsCheck = {
  readonly kind: 'dns';
  /** With or without a dot at its end; `.` is the root. */
  readonly name: string;
  readonly type: DnsType;
  readonly transport: 'udp' | 'tcp';
  /** Asks the server to look further (RD). */
  readonly recursion: boolean;
  readonly rcodes: readonly DnsRcode[];
  /** Data of records of the type, as zone files write it: each must be among the answers. */
  readonly answers: readonly string[];
  /** Some record of the answer must match; null: any. */
  readonly match: Matcher | null;
};

export type UdpCheck = {
  readonly kind: 'udp';
  readonly payload: HexBytes;
  /** False: who sends no ICMP error within the timeout is up (keepalived's UDP_CHECK without require_reply). */
  readonly requireReply: boolean;
  /** The beginning of the reply; hexadecimal digits, `x` for any. Null: any reply. */
  readonly reply: string | null;
  readonly minLength: number;
  readonly maxLength: number;
};

export type ScriptCheck = {
  readonly kind: 'script';
  /** Program and arguments; no shell. `{address}` and `{port}` are the target's. */
  readonly command: readonly string[];
  /** Null: the agent's own user. */
  readonly user: string | null;
  /** Exit codes 2 to 255 are up, with a weight of code − 2 (keepalived's misc_dynamic). */
  readonly isDynamic: boolean;
};

export type FileCheck = {
  readonly kind: 'file';
  /** `{address}` and `{port}` are the target's. */
  readonly path: string;
  /** The number in the file times this is added to the weight; null: any number but 0 is down. */
  readonly factor: number | null;
};

/**
 * A look along the path that IPVS takes to a real server of DR or a tunnel: the VIP as destination, one hop far. What
 * is null in a document is filled in for each real server.
 */
export type VipCheck = {
  readonly kind: 'vip';
  /** Null: the service's first address. */
  readonly vip: IpAddress | null;
  /** Null: `tcp` where the service speaks TCP, else `echo`. */
  readonly ask: 'tcp' | 'echo' | null;
  /** Who tells its link that it has the VIP is down. */
  readonly arp: 'fail' | 'ignore';
  /** How packets reach the real server; null: by its MAC address (DR). */
  readonly tunnel: { readonly type: 'ipip' | 'gue' | 'gre'; readonly port: number } | null;
  /** Of the director that looks, never of the document: what it may not send from, and may. */
  readonly own?: { readonly address: IpAddress; readonly vips: readonly IpAddress[] };
};

export type CheckKind =
  | VipCheck
  | IcmpCheck
  | TcpCheck
  | TlsCheck
  | HttpCheck
  | SmtpCheck
  | DnsCheck
  | UdpCheck
  | ScriptCheck
  | FileCheck;

export const CHECK_KINDS = [
  'icmp',
  'tcp',
  'tls',
  'http',
  'https',
  'smtp',
  'dns',
  'udp',
  'vip',
  'script',
  'file',
] as const satisfies readonly CheckKind['kind'][];

/** Kinds that ask a port of the target. */
export const usesPort = (kind: CheckKind['kind']): boolean =>
  kind !== 'icmp' && kind !== 'script' && kind !== 'file';

/** Where a probe leaves this machine. */
export type CheckOrigin = {
  /** Each director's own source address; what is not named takes the one that the route gives. */
  readonly sources: readonly (readonly [DirectorId, IpAddress])[];
  /** Source address of all; null: as the route says. */
  readonly source: IpAddress | null;
  /** Source port; 0: any. */
  readonly sourcePort: number;
  /** Logical name, or a device; in what a prober gets: the device. Null: as the route says. */
  readonly interface: string | null;
  /** Mark of the packets for ip rules and nftables (SO_MARK); 0: none. */
  readonly mark: number;
};

export const ANY_ORIGIN: CheckOrigin = {
  sources: [],
  source: null,
  sourcePort: 0,
  interface: null,
  mark: 0,
};

/** Why a probe failed. Closed: label values of metrics, too. */
export const PROBE_REASONS = [
  'refused',
  'unreachable',
  'forbidden',
  'reset',
  'closed-early',
  'timeout-connect',
  'timeout-tls',
  'timeout-first-byte',
  'timeout-answer',
  'timeout-script',
  'not-tls',
  'tls-failed',
  'certificate-expired',
  'certificate-not-yet-valid',
  'certificate-expires-soon',
  'certificate-wrong-name',
  'certificate-unknown-authority',
  'certificate-self-signed',
  'certificate-revoked',
  'certificate-invalid',
  'not-this-protocol',
  'wrong-status',
  'wrong-digest',
  'no-match',
  'unwanted-match',
  'too-large',
  'wrong-length',
  'wrong-answer',
  'script-failed',
  'file-unreadable',
  'file-says-down',
  'vip-missing',
  'answers-arp',
  'misconfigured',
  'other',
] as const;
export type ProbeReason = (typeof PROBE_REASONS)[number];
